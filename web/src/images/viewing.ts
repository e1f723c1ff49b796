// What the viewer has to read of an image.

import { TidegateError } from '@tidegate/client'
import { useEffect, useState } from 'preact/hooks'

import { epoch } from '../app/feed.js'
import { path } from '../app/projects.js'
import { client } from '../app/session.js'
import { type Picture, Unshown } from './bounds.js'
import type { Entry } from './gallery.js'
import { readPicture } from './picture.js'
import type { Result } from './types.js'

/** No side is longer; larger pictures are made smaller. */
const LONGEST = 2000

/** A picture, why there is none, or `undefined` while it is read. */
export type Shown = Picture | { why: Unshown['why'] | 'unread' } | undefined

export function usePicture(entry: Entry): Shown {
  const [read, setRead] = useState<{ entry: Entry; shown: Shown }>()
  useEffect(() => {
    const reading = new AbortController()
    const { signal } = reading
    let bitmap: ImageBitmap | undefined
    const show = (shown: Shown) => {
      if (!signal.aborted) setRead({ entry, shown })
    }
    readPicture(entry.image.peek(), LONGEST, signal).then(
      (picture) => {
        bitmap = picture.bitmap
        if (signal.aborted) bitmap.close()
        else show(picture)
      },
      (error) => show({ why: error instanceof Unshown ? error.why : 'unread' }),
    )
    return () => {
      reading.abort()
      bitmap?.close()
    }
  }, [entry])
  return read?.entry === entry ? read.shown : undefined
}

/** What was found, `null` if nothing was yet, `undefined` while it is read. A newer one takes its place. */
export function useImageResult(entry: Entry): Result | null | undefined {
  const [read, setRead] = useState<{ entry: Entry; result: Result | null }>()
  const [results, anew] = [entry.results.value, epoch.value]
  // The counts say that there may be a newer one.
  useEffect(() => {
    const reading = new AbortController()
    const { signal } = reading
    const show = (result: Result | null) => {
      if (!signal.aborted) setRead({ entry, result })
    }
    // Without a result there is nothing to be asked for.
    if (entry.image.peek().segmentationStatus === 'no_segmentation') show(null)
    else readResult(entry.id, signal).then(show, () => show(null))
    return () => reading.abort()
  }, [entry, results, anew])
  return read?.entry === entry ? read.result : undefined
}

async function readResult(id: string, signal: AbortSignal): Promise<Result | null> {
  try {
    return await client.call<Result>('GET', path('images', id, 'result'), { signal })
  } catch (error) {
    if (error instanceof TidegateError && error.status === 404) return null
    throw error
  }
}
