// TIFF, which no browser but one shows, is read and decoded by a worker. It is loaded with the first one.

import { type Picture, Unshown } from './bounds.js'

export interface TiffAsk {
  id: number
  url: string
  headers: Record<string, string>
  longest: number
}

export interface TiffCancel {
  cancelled: number
}

export type TiffAnswer =
  | { id: number; bitmap: ImageBitmap; width: number; height: number }
  | { id: number; why: Unshown['why'] }

interface Waiting {
  resolve: (picture: Picture) => void
  reject: (error: unknown) => void
}

let worker: Worker | undefined
let last = 0
const waiting = new Map<number, Waiting>()

/** Rejects with `Unshown` if it cannot be shown. */
export function readTiff(
  url: URL,
  headers: Record<string, string>,
  longest: number,
  signal: AbortSignal,
): Promise<Picture> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const asked = start()
    last += 1
    const id = last
    const cancel = () => {
      waiting.delete(id)
      asked.postMessage({ cancelled: id } satisfies TiffCancel)
      reject(signal.reason)
    }
    const done = () => signal.removeEventListener('abort', cancel)
    waiting.set(id, {
      resolve: (picture) => {
        done()
        resolve(picture)
      },
      reject: (error) => {
        done()
        reject(error)
      },
    })
    signal.addEventListener('abort', cancel, { once: true })
    asked.postMessage({ id, url: url.href, headers, longest } satisfies TiffAsk)
  })
}

/** Gives back what the worker holds. */
export function closeTiff(): void {
  worker?.terminate()
  worker = undefined
  for (const { reject } of waiting.values()) reject(new DOMException('closed', 'AbortError'))
  waiting.clear()
}

function start(): Worker {
  if (worker) return worker
  worker = new Worker(new URL('./tiff.worker.ts', import.meta.url), { type: 'module' })
  worker.addEventListener('message', ({ data }: MessageEvent<TiffAnswer>) => {
    const asker = waiting.get(data.id)
    waiting.delete(data.id)
    if ('why' in data) asker?.reject(new Unshown(data.why))
    else if (asker) asker.resolve(data)
    else data.bitmap.close()
  })
  // It could not be loaded, or has come to its end. The next one begins anew.
  worker.addEventListener('error', () => {
    for (const { reject } of waiting.values()) reject(new Unshown('other'))
    waiting.clear()
    worker?.terminate()
    worker = undefined
  })
  return worker
}
