const PATHS = {
  pause: 'M6 4v12M14 4v12',
  play: 'M6 4l10 6-10 6z',
  again: 'M16 10a6 6 0 1 1-2-4.500M16 3v4h-4',
  close: 'M5 5l10 10M15 5L5 15',
}

/** A sign beside, or in the place of, words that a label has. */
export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}
