import { soon } from '../app/soon.js'

const WITHIN_MS = 1000

/** What comes within a second is told at once, as of a thousand files that are refused for the same reason. */
export function gather<T>(tell: (all: T[]) => void): (one: T) => void {
  let all: T[] = []
  const later = soon(() => {
    tell(all)
    all = []
  }, WITHIN_MS)
  return (one) => {
    all.push(one)
    later()
  }
}
