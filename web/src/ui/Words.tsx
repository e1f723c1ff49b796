import { parted } from './isolate.js'

/** A text with names in it, none of which turns what is beside it. */
export function Words({ of }: { of: string }) {
  // Every other part is a name.
  return <>{parted(of).map((part, place) => (place % 2 === 0 ? part : <bdi key={place}>{part}</bdi>))}</>
}
