// A completed upload as a picture of at most some size, if it is one.

import { client } from '../app/session.js'
import { fit, PIXELS_MAX, type Picture, type Size, Unshown } from './bounds.js'
import { MAGIC_BYTES, sniff } from './sniff.js'
import { readTiff } from './tiff.js'
import type { ProjectImage } from './types.js'

/** Larger ones are not decoded, so that the page stays usable. */
const BYTES_MAX = 64 * 1024 * 1024

/** How far into a JPEG file its size may stand: it may begin with a preview and a profile. */
const HEADER_BYTES = 1024 * 1024

/** The extension of a file's name. */
export function extension({ filename }: ProjectImage): string {
  return /\.([a-z0-9]{1,8})$/i.exec(filename ?? '')?.[1]?.toLowerCase() ?? ''
}

const PICTURES = ['png', 'jpg', 'jpeg', 'jpe', 'webp', 'gif', 'bmp']
const TIFFS = ['tif', 'tiff', 'btf', 'tf8']

type Kind = 'picture' | 'tiff' | 'other' | 'unknown'

/** What it is as its sender says. */
function kindOf(image: ProjectImage): Kind {
  const type = image.contentType?.split(';')[0]?.trim().toLowerCase() ?? ''
  if (type === 'image/tiff' || TIFFS.includes(extension(image))) return 'tiff'
  if (/^image\/(png|jpe?g|webp|gif|bmp|x-ms-bmp)$/.test(type) || PICTURES.includes(extension(image))) return 'picture'
  const isTold = extension(image) !== '' || (type !== '' && type !== 'application/octet-stream')
  return isTold ? 'other' : 'unknown'
}

/** Whether its sender says nothing to the contrary. */
export function mayBePicture(image: ProjectImage): boolean {
  return kindOf(image) !== 'other'
}

/** Rejects with `Unshown` if it cannot be shown. */
export async function readPicture(image: ProjectImage, longest: number, signal: AbortSignal): Promise<Picture> {
  let kind = kindOf(image)
  if (kind === 'unknown') kind = await look(image, signal)
  if (kind === 'tiff') return readTiff(client.url(image.url), client.headers(), longest, signal)
  if (kind !== 'picture') throw new Unshown('other')
  if (image.size > BYTES_MAX) throw new Unshown('large')
  const blob = await (await client.fetch('GET', image.url, { signal })).blob()
  const head = sniff(new Uint8Array(await blob.slice(0, HEADER_BYTES).arrayBuffer()))
  // Names are wrong at times.
  if (head?.format === 'tiff') return readTiff(client.url(image.url), client.headers(), longest, signal)
  const { width, height } = head ?? {}
  if (!width || !height) throw new Unshown('other')
  if (width * height > PIXELS_MAX) throw new Unshown('large')
  const bitmap = await decode(blob, fit(width, height, longest))
  if (!signal.aborted) return { bitmap, width, height }
  bitmap.close()
  throw signal.reason
}

/** What its first bytes say. */
async function look({ url, size }: ProjectImage, signal: AbortSignal): Promise<Kind> {
  if (size === 0) return 'other'
  const headers = { ...client.headers(), Range: `bytes=0-${MAGIC_BYTES - 1}` }
  const answer = await fetch(client.url(url), { headers, signal })
  // Whatever does not do as it was asked may send everything.
  if (answer.status !== 206) {
    await answer.body?.cancel()
    return 'other'
  }
  const format = sniff(new Uint8Array(await answer.arrayBuffer()))?.format
  if (format === 'tiff') return 'tiff'
  return format === undefined ? 'other' : 'picture'
}

/** The pixels as they are in the file, since results are about those: not turned as a camera was held. */
async function decode(blob: Blob, { width, height }: Size): Promise<ImageBitmap> {
  const options: ImageBitmapOptions = { resizeWidth: width, resizeHeight: height, resizeQuality: 'high' }
  try {
    return await createImageBitmap(blob, { ...options, imageOrientation: 'none' })
  } catch {
    throw new Unshown('other')
  }
}
