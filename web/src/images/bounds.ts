// How large a picture may be, and is shown.

/** Larger ones are not decoded, so that the page stays usable. */
export const PIXELS_MAX = 100_000_000

export interface Picture {
  bitmap: ImageBitmap
  /** The whole picture's. */
  width: number
  height: number
}

/** There is nothing to be seen, for now and later. */
export class Unshown extends Error {
  readonly why: 'large' | 'other'

  constructor(why: Unshown['why']) {
    super(why)
    this.why = why
  }
}

export interface Size {
  width: number
  height: number
}

/** The size of a picture that is made as small as it has to be. */
export function fit(width: number, height: number, longest: number): Size {
  const scale = Math.min(1, longest / Math.max(width, height))
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) }
}
