/** Often enough for eyes, and seldom enough to leave the page time for everything else. In milliseconds. */
const PACE_MS = 100

/** Does something soon, once for all calls that come until then. */
export function soon(work: () => void, afterMs = PACE_MS): () => void {
  let isDue = false
  return () => {
    if (isDue) return
    isDue = true
    setTimeout(() => {
      isDue = false
      work()
    }, afterMs)
  }
}
