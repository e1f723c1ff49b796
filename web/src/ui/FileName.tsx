import type { Name } from '../app/names.js'

/** Whatever is in a name, and in whichever direction it is written: nothing beside it is turned by it. */
export function FileName({ name, hint }: Name) {
  return (
    <>
      <bdi class="file-name">{name}</bdi>
      {hint !== undefined && <span class="faint"> {hint}</span>}
    </>
  )
}
