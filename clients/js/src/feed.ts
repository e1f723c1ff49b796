import type { Tidegate } from './client.js'
import { Deadline } from './deadline.js'
import { TidegateError } from './problem.js'
import { FIRST_WORD, type Reader, type Transport } from './reader.js'
import { readSse } from './sse.js'
import type { Problem, TidegateEvent } from './types.js'
import { readWebSocket } from './websocket.js'

export interface FeedOptions {
  projectId: string
  /** The place to go on from, a cursor; now if it is left out. */
  after?: string
  /** Only these, such as `upload.*`. `feed.gap` always comes. */
  types?: string[]
  /** Each event once, in the order of the feed. What it throws is reported, and the feed goes on. */
  onEvent: (event: TidegateEvent) => void
  /** What becomes of the connection; also called whenever the cursor moves. */
  onState?: (state: FeedState) => void
  /**
   * Events were lost: the feed is another one, or has forgotten them. What is known has to be read anew. What happens
   * from then on is told already.
   */
  onGap?: () => void
  /** Ends the feed, as `close()` does. */
  signal?: AbortSignal
}

export interface FeedState {
  /**
   * `waiting`: the connection is lost, and another is tried in a moment. `ended`: for good, `problem` says why if it
   * was not closed.
   */
  status: 'connecting' | 'live' | 'waiting' | 'ended'
  transport: 'sse' | 'websocket'
  /** The place behind all that was told. */
  cursor: string | undefined
  /** 401: the login is no good, sign in and subscribe anew. 404: the project is gone, or is not for the caller. */
  problem?: Problem
}

export interface Subscription {
  readonly state: FeedState
  /** Ends it at once; nothing is told any more. Can be called again. */
  close(): void
}

/** Milliseconds. */
const FIRST_DELAY = 250
const LONGEST_DELAY = 10_000
const LONGEST_RETRY_AFTER = 60_000

/** Refusals that another attempt may well not meet. */
const PASSING = [408, 409, 425, 429]

const TRANSPORTS: Record<FeedState['transport'], Transport> = { sse: readSse, websocket: readWebSocket }

/** Follows a project until it is closed. See `docs/events.md`. */
export function openFeed(client: Tidegate, options: FeedOptions): Subscription {
  const feed = new Feed(client, options)
  void feed.run()
  return feed
}

class Feed implements Subscription {
  state: FeedState
  readonly #client: Tidegate
  readonly #options: FeedOptions
  readonly #closing = new AbortController()
  /** Of the connection that there is. */
  #connection = new AbortController()
  #failures = 0
  /** The sequence of the last event that was told. */
  #last: bigint | undefined
  #gap = false
  #wake: () => void = () => {}

  constructor(client: Tidegate, options: FeedOptions) {
    this.#client = client
    this.#options = options
    this.state = { status: 'connecting', transport: 'sse', cursor: options.after }
  }

  close = (): void => {
    this.#end()
  }

  /** Connects again and again, and never rejects. */
  async run(): Promise<void> {
    const { signal } = this.#options
    signal?.addEventListener('abort', this.close, { signal: this.#closing.signal })
    if (signal?.aborted) this.close()
    this.#watchNetwork()
    while (!this.#closing.signal.aborted) {
      this.#show({ status: isOffline() ? 'waiting' : 'connecting' })
      const delay = await this.#connect()
      if (this.#closing.signal.aborted) return
      this.#show({ status: 'waiting' })
      await this.#pause(delay)
    }
  }

  /** One connection from its beginning to its end. Gives the delay until the next one, in milliseconds. */
  async #connect(): Promise<number> {
    this.#connection = new AbortController()
    const signal = AbortSignal.any([this.#closing.signal, this.#connection.signal])
    const { transport } = this.state
    let began = false
    try {
      await this.#read(TRANSPORTS[transport], signal, () => {
        began = true
        this.#live()
      })
    } catch (error) {
      if (error instanceof TidegateError) return this.#refused(error)
      // Else the connection is lost, which is no news.
    }
    // Nothing at all has come through, as with a proxy that collects what it passes on.
    if (!began && !signal.aborted) this.#show({ transport: transport === 'sse' ? 'websocket' : 'sse' })
    return this.#backoff()
  }

  async #read(transport: Transport, signal: AbortSignal, began: () => void): Promise<void> {
    const ticket = await this.#ticket(signal)
    const { projectId, types } = this.#options
    const reader: Reader = {
      projectId,
      types: types?.join(','),
      after: this.state.cursor,
      ticket,
      signal,
      began,
      told: (event) => this.#told(event),
      reached: (cursor) => this.#reached(cursor),
    }
    try {
      await transport(this.#client, reader)
    } catch (error) {
      // A restart forgets tickets. Whether the login is good is said when the next one is asked for.
      if (ticket !== undefined && isUnauthorized(error)) throw new Error('The ticket is used up')
      throw error
    }
  }

  /** One that is good for one connection, if there is a login. */
  async #ticket(signal: AbortSignal): Promise<string | undefined> {
    if (!('Authorization' in this.#client.headers())) return undefined
    const deadline = new Deadline(signal, FIRST_WORD)
    try {
      return await this.#client.ticket(deadline.signal)
    } finally {
      deadline.lift()
    }
  }

  /** What a refusal means: the end, or a delay in milliseconds. */
  #refused(error: TidegateError): number {
    const { status, code } = error.problem
    if (code === 'CURSOR_UNKNOWN' && this.state.cursor !== undefined) {
      this.#last = undefined
      this.#gap = true
      this.#show({ cursor: undefined })
      return 0
    }
    // One in words of somebody else is a proxy's, whose server may come back.
    if (status < 500 && !PASSING.includes(status) && code !== 'UNKNOWN') this.#end(error.problem)
    return Math.max(this.#backoff(), Math.min(error.retryAfter ?? 0, LONGEST_RETRY_AFTER))
  }

  #live(): void {
    this.#failures = 0
    if (this.state.status !== 'live') this.#show({ status: 'live' })
    // Not before: what happens while the state is read anew must not be missed.
    if (this.#gap) this.#lost()
    this.#gap = false
  }

  #told(event: TidegateEvent): void {
    if (this.#closing.signal.aborted) return
    if (event.sequence !== undefined) {
      const sequence = BigInt(event.sequence)
      if (this.#last !== undefined && sequence <= this.#last) return
      this.#last = sequence
    }
    shielded(() => this.#options.onEvent(event))
    if (event.type === 'feed.gap') this.#lost()
  }

  #lost(): void {
    if (!this.#closing.signal.aborted) shielded(() => this.#options.onGap?.())
  }

  #reached(cursor: string): void {
    if (cursor !== this.state.cursor) this.#show({ cursor })
  }

  #show(change: Partial<FeedState>): void {
    if (this.state.status === 'ended') return
    this.state = { ...this.state, ...change }
    shielded(() => this.#options.onState?.(this.state))
  }

  #end(problem?: Problem): void {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#wake()
    this.#show(problem ? { status: 'ended', problem } : { status: 'ended' })
  }

  /** Full jitter, so that a thousand pages do not come back at the same moment. */
  #backoff(): number {
    return Math.random() * Math.min(FIRST_DELAY * 2 ** this.#failures++, LONGEST_DELAY)
  }

  #pause(delay: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delay)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** A connection from before is dead when the network changes, and it would take long to notice. */
  #watchNetwork(): void {
    if (typeof globalThis.addEventListener !== 'function') return
    const renew = () => {
      this.#failures = 0
      this.#connection.abort(new Error('The network has changed'))
      this.#wake()
    }
    globalThis.addEventListener('online', renew, { signal: this.#closing.signal })
    globalThis.addEventListener('offline', renew, { signal: this.#closing.signal })
  }
}

function isOffline(): boolean {
  return typeof navigator !== 'undefined' && navigator.onLine === false
}

function isUnauthorized(error: unknown): boolean {
  return error instanceof TidegateError && error.status === 401
}

/** Runs what is the app's: its mistakes are not the feed's end. */
function shielded(run: () => void): void {
  try {
    run()
  } catch (error) {
    if (typeof reportError === 'function') reportError(error)
    else console.error(error)
  }
}
