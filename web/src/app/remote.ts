// What is read from the server for as long as a component is shown.

import { signal } from '@preact/signals'
import { useEffect, useState } from 'preact/hooks'

import { epoch } from './feed.js'
import { complain } from './notices.js'

/** Events come in bursts: one reading answers all that come within this time. */
const PAUSE_MS = 300

type Read<T> = (signal: AbortSignal) => Promise<T>

class Remote<T> {
  read: Read<T>
  readonly #value = signal<T | undefined>(undefined)
  readonly #closing = new AbortController()
  #free: Promise<unknown> = Promise.resolve()
  #next: Promise<void> | undefined

  constructor(read: Read<T>) {
    this.read = read
  }

  /** `undefined` until it is there. */
  get value(): T | undefined {
    return this.#value.value
  }

  /** Changes what is shown, until the next reading. */
  change(by: (value: T) => T): void {
    const value = this.#value.peek()
    if (value !== undefined) this.#value.value = by(value)
  }

  /** Reads it anew; while it is being read, once more behind that. */
  reload = (): Promise<void> => {
    this.#next ??= this.#free.then(() => {
      this.#next = undefined
      const reading = this.#read()
      this.#free = reading.then(() => new Promise((resolve) => setTimeout(resolve, PAUSE_MS)))
      return reading
    })
    return this.#next
  }

  close(): void {
    this.#closing.abort()
  }

  async #read(): Promise<void> {
    const { signal } = this.#closing
    if (signal.aborted) return
    try {
      const value = await this.read(signal)
      if (!signal.aborted) this.#value.value = value
    } catch (error) {
      if (!signal.aborted) complain(error)
    }
  }
}

/** It is read at once, and anew whenever events were lost. What it is about must not change: give the component a key. */
export function useRemote<T>(read: Read<T>): Remote<T> {
  const [remote] = useState(() => new Remote(read))
  remote.read = read
  useEffect(() => {
    remote.reload()
  }, [epoch.value])
  useEffect(() => () => remote.close(), [])
  return remote
}
