/** Aborts when nothing has come in time, or when the signal that it was made with does. */
export class Deadline {
  readonly signal: AbortSignal
  readonly #late = new AbortController()
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(signal: AbortSignal, milliseconds: number) {
    this.signal = AbortSignal.any([signal, this.#late.signal])
    this.extend(milliseconds)
  }

  /** From now on, in place of what was before. */
  extend(milliseconds: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#late.abort(new Error(`Nothing came for ${milliseconds} ms`)), milliseconds)
  }

  lift(): void {
    clearTimeout(this.#timer)
  }
}
