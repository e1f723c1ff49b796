// The server may say that something is only too early.

import { TidegateError } from '@tidegate/client'

/** For so long in all, in milliseconds, and never quicker than that. */
const PATIENCE_MS = 60_000
const SHORTEST_MS = 250

/** Does something again, as long as the server says when that may be worth another try. */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  const until = performance.now() + PATIENCE_MS
  for (;;) {
    try {
      return await work()
    } catch (error) {
      const wait = error instanceof TidegateError ? error.retryAfter : undefined
      if (wait === undefined || performance.now() + wait > until) throw error
      await pause(Math.max(wait, SHORTEST_MS))
    }
  }
}

/** Returns after so many milliseconds, or once the signal is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', over)
      resolve()
    }
    const timer = setTimeout(over, ms)
    signal?.addEventListener('abort', over)
    if (signal?.aborted) over()
  })
}
