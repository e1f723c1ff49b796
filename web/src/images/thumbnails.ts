// Small pictures of the images, as files in memory: a browser decodes those that it shows.

import { Limit } from '../app/limit.js'
import { onUserChange } from '../app/session.js'
import { Unshown } from './bounds.js'
import { readPicture } from './picture.js'
import type { ProjectImage } from './types.js'

/** A tile is at most so wide, on a screen with two pixels for one. */
const LONGEST = 440
const KEPT = 300
const AT_ONCE = 2

/** The address of the small picture, or why there is none. */
export type Thumbnail = { url: string } | { why: Unshown['why'] }

/** Those that were needed last come last. */
const kept = new Map<string, Thumbnail>()
const limit = new Limit(AT_ONCE)

onUserChange(() => {
  for (const [id, thumbnail] of kept) forget(id, thumbnail)
})

export function keptThumbnail(id: string): Thumbnail | undefined {
  const found = kept.get(id)
  if (found) keep(id, found)
  return found
}

/** Rejects if it could not be read this time. */
export function makeThumbnail(image: ProjectImage, signal: AbortSignal): Promise<Thumbnail> {
  return limit.run(async () => {
    const made = await make(image, signal)
    keep(image.id, made)
    return made
  }, signal)
}

async function make(image: ProjectImage, signal: AbortSignal): Promise<Thumbnail> {
  try {
    const { bitmap } = await readPicture(image, LONGEST, signal)
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height)
    canvas.getContext('2d')?.drawImage(bitmap, 0, 0)
    bitmap.close()
    return { url: URL.createObjectURL(await canvas.convertToBlob({ type: 'image/webp', quality: 0.85 })) }
  } catch (error) {
    if (error instanceof Unshown) return { why: error.why }
    throw error
  }
}

function keep(id: string, thumbnail: Thumbnail): void {
  kept.delete(id)
  kept.set(id, thumbnail)
  const [oldest] = kept
  if (kept.size > KEPT && oldest) forget(...oldest)
}

/** Whatever shows it goes on to do so. */
function forget(id: string, thumbnail: Thumbnail): void {
  kept.delete(id)
  if ('url' in thumbnail) URL.revokeObjectURL(thumbnail.url)
}

/** What could not be shown may have been for lack of a connection. */
export function forgetFailures(): void {
  for (const [id, thumbnail] of kept) if ('why' in thumbnail) forget(id, thumbnail)
}

type Near = (signal: AbortSignal) => void

/** Tells what comes near to what is seen. Its work is aborted when that is far again. */
export class Nearness {
  readonly #works = new Map<Element, Near>()
  readonly #running = new Map<Element, AbortController>()
  readonly #observer = new IntersectionObserver((changes) => this.#moved(changes), { rootMargin: '400px 0px' })

  watch(element: Element, work: Near): () => void {
    this.#works.set(element, work)
    this.#observer.observe(element)
    return () => {
      this.#observer.unobserve(element)
      this.#works.delete(element)
      this.#stop(element)
    }
  }

  #moved(changes: IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of changes) {
      this.#stop(target)
      if (!isIntersecting) continue
      const control = new AbortController()
      this.#running.set(target, control)
      this.#works.get(target)?.(control.signal)
    }
  }

  #stop(element: Element): void {
    this.#running.get(element)?.abort()
    this.#running.delete(element)
  }
}
