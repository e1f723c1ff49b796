// Places for requests, shared by all pages of an origin: a browser has six connections to an HTTP/1.1 server for all of
// them together, and who takes them all keeps every other call waiting, a cancel as well.

/**
 * Resolves once one of `count` places is free, with what gives it back; never, if the signal comes before. A page that
 * is closed gives its places back. Where there are no locks (a page without TLS, Node) there is a place for everybody.
 */
export function takePlace(count: number, signal?: AbortSignal): Promise<() => void> {
  const locks = globalThis.navigator?.locks
  if (locks === undefined) return Promise.resolve(() => {})
  return new Promise((resolve) => {
    const waiting = new AbortController()
    signal?.addEventListener('abort', () => waiting.abort(), { signal: waiting.signal })
    if (signal?.aborted) return
    for (let place = 0; place < count; place += 1) {
      const request = locks.request(`tidegate-place-${place}`, { signal: waiting.signal }, () => {
        // Two can be free at the same moment.
        if (waiting.signal.aborted) return undefined
        waiting.abort()
        return new Promise<void>(resolve)
      })
      // It is not waited for any longer.
      request.catch(() => {})
    }
  })
}
