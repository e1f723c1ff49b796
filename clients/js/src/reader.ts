import type { Tidegate } from './client.js'
import type { TidegateEvent } from './types.js'

/** Within this, in milliseconds, a server that is reached has sent something; else somebody between holds it back. */
export const FIRST_WORD = 5_000

/** One connection for a feed: what it asks for, and whom it tells. */
export interface Reader {
  readonly projectId: string
  /** Several have commas between them. */
  readonly types: string | undefined
  /** Where to go on; now if it is left out. */
  readonly after: string | undefined
  /** In the place of a login. */
  readonly ticket: string | undefined
  readonly signal: AbortSignal
  /** The server has begun: from here on it tells everything. */
  began(): void
  told(event: TidegateEvent): void
  /** All before this place was told. */
  reached(cursor: string): void
}

/** Reads until the server ends the connection, and rejects if something else does. */
export type Transport = (client: Tidegate, reader: Reader) => Promise<void>
