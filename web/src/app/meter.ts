// How fast something is, and for how long it has not moved.

/** Older than this, a speed says nothing about now. */
const HALF_LIFE_MS = 2000

/** What has not moved for so long, in seconds, has no speed. */
const STALLED_S = 5

/** Two looks closer together than this are one. */
const SHORTEST_MS = 150

export class Meter {
  #reached: number
  #at = performance.now()
  #rate: number | undefined
  #moved = performance.now()

  constructor(reached = 0) {
    this.#reached = reached
  }

  /** It has come so far. */
  reach(count: number): void {
    const now = performance.now()
    if (count === this.#reached) return
    if (this.stalledFor > STALLED_S) {
      this.#rate = undefined
      this.#reached = count
      this.#at = now
    }
    this.#moved = now
    const passed = now - this.#at
    if (passed < SHORTEST_MS) return
    const speed = Math.max(0, count - this.#reached) / (passed / 1000)
    const weight = 1 - 0.5 ** (passed / HALF_LIFE_MS)
    this.#rate = this.#rate === undefined ? speed : this.#rate + weight * (speed - this.#rate)
    this.#reached = count
    this.#at = now
  }

  /** It is alive, however far it is. */
  touch(): void {
    this.#moved = performance.now()
  }

  /** Bytes per second; `undefined` while there is nothing to tell. */
  get rate(): number | undefined {
    return this.stalledFor > STALLED_S ? undefined : this.#rate
  }

  /** Seconds until `length` is reached. */
  secondsTo(length: number | null | undefined): number | undefined {
    const { rate } = this
    if (length === null || length === undefined || rate === undefined || rate < 1) return undefined
    return Math.max(0, length - this.#reached) / rate
  }

  /** Seconds since it last moved. */
  get stalledFor(): number {
    return (performance.now() - this.#moved) / 1000
  }
}
