export { type Ask, type ClientOptions, type ItemList, type List, Tidegate, type UploadList } from './client.js'
export type { FeedOptions, FeedState, Subscription } from './feed.js'
export { parseProblem, TidegateError } from './problem.js'
export type * from './types.js'
