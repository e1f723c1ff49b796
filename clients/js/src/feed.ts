import type { Tidegate } from './client.js'
import type { Problem, TidegateEvent } from './types.js'

export interface FeedOptions {
  projectId: string
  /** The place to go on from, a cursor; now if it is left out. */
  after?: string
  /** Only these, such as `upload.*`. */
  types?: string[]
  onEvent: (event: TidegateEvent) => void
  /** What becomes of the connection; also called whenever the cursor moves. */
  onState?: (state: FeedState) => void
  /** Events were lost: the feed is another one, or has forgotten them. What is known has to be read anew. */
  onGap?: () => void
  signal?: AbortSignal
}

export interface FeedState {
  /** `ended`: for good, `problem` says why if it was not closed. */
  status: 'connecting' | 'live' | 'waiting' | 'ended'
  transport: 'sse' | 'websocket'
  /** The place behind all that was told. */
  cursor: string | undefined
  problem?: Problem
}

export interface Subscription {
  readonly state: FeedState
  close(): void
}

export function openFeed(_client: Tidegate, _options: FeedOptions): Subscription {
  throw new Error('not written yet')
}
