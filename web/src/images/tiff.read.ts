// Reads a TIFF file by ranges, bands of it one after the other, as a picture of at most some size.

import { fromUrl, type GeoTIFF, type GeoTIFFImage } from 'geotiff'

import { fit, PIXELS_MAX } from './bounds.js'
import { type Colours, Shrinker } from './shrink.js'
import type { TiffAnswer, TiffAsk } from './tiff.js'

type Told<T> = T extends { id: number } ? Omit<T, 'id'> : never

/** A strip may be as large as the whole picture, and is decoded at once. */
const BLOCK_BYTES_MAX = 1024 * 1024 * 1024
/** About so many pixels are read at a time. */
const BAND_PIXELS = 4_000_000
const OVERVIEWS_MAX = 16
/** What is near in the file is asked for at once. */
const BLOCKS = { blockSize: 128 * 1024, cacheSize: 256 }

const [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB] = [0, 1, 2]
const [REDUCED, MASK] = [1, 4]

export async function readTiff({ url, headers, longest }: TiffAsk, signal: AbortSignal): Promise<Told<TiffAnswer>> {
  const tiff = await fromUrl(url, { headers, ...BLOCKS }, signal)
  const whole = await imageOf(tiff, 0)
  const [width, height] = [whole.getWidth(), whole.getHeight()]
  const image = Math.max(width, height) > longest ? await overview(tiff, whole, longest) : whole
  if (image.getWidth() * image.getHeight() > PIXELS_MAX || blockBytes(image) > BLOCK_BYTES_MAX) return { why: 'large' }
  const from = { width: image.getWidth(), height: image.getHeight() }
  const shrinker = new Shrinker({ from, to: fit(from.width, from.height, longest), ...coloursOf(image) })
  await readBands(image, shrinker, signal)
  return { bitmap: await createImageBitmap(shrinker.paint()), width, height }
}

const BITS_PER_SAMPLE = 258

/** The library takes a field to be there that may be left out in a picture of black and white. */
async function imageOf(tiff: GeoTIFF, index: number): Promise<GeoTIFFImage> {
  const image = await tiff.getImage(index)
  const { fileDirectory } = image
  if (!fileDirectory.hasTag(BITS_PER_SAMPLE)) {
    fileDirectory.actualizedFields.set(BITS_PER_SAMPLE, new Array(image.getSamplesPerPixel()).fill(1))
  }
  return image
}

/** The smallest one that is as large as is wanted. They follow the picture that they are of. */
async function overview(tiff: GeoTIFF, whole: GeoTIFFImage, longest: number): Promise<GeoTIFFImage> {
  let best = whole
  const shape = whole.getWidth() / whole.getHeight()
  for (let index = 1; index <= OVERVIEWS_MAX; index += 1) {
    const image = await imageOf(tiff, index).catch(() => undefined)
    const kind = Number(image?.fileDirectory.getValue('NewSubfileType') ?? 0)
    if (image === undefined || !(kind & (REDUCED | MASK))) break
    const [width, height] = [image.getWidth(), image.getHeight()]
    const isSameShape = Math.abs(width / height / shape - 1) < 0.05
    if (kind === REDUCED && isSameShape && Math.max(width, height) >= longest && width < best.getWidth()) best = image
  }
  return best
}

function blockBytes(image: GeoTIFFImage): number {
  const block = image.getTileWidth() * image.getTileHeight() * image.getBytesPerPixel()
  return image.isTiled ? block : block / (image.planarConfiguration === 2 ? image.getSamplesPerPixel() : 1)
}

function photometric(image: GeoTIFFImage): number {
  return Number(image.fileDirectory.getValue('PhotometricInterpretation') ?? BLACK_IS_ZERO)
}

function isGrey(image: GeoTIFFImage): boolean {
  return [WHITE_IS_ZERO, BLACK_IS_ZERO].includes(photometric(image)) || image.getSamplesPerPixel() < 3
}

function isPalette(image: GeoTIFFImage): boolean {
  return photometric(image) === 3
}

function coloursOf(image: GeoTIFFImage): Colours {
  if (isPalette(image)) return { channels: 3, range: 255 }
  if (isGrey(image)) return { channels: 1, range: 'stretch', isInverted: photometric(image) === WHITE_IS_ZERO }
  if (photometric(image) !== RGB) return { channels: 3, range: 255 }
  // What is written with more bits hardly ever uses all of them.
  const range = image.getBitsPerSample() === 8 && image.getSampleFormat() === 1 ? 255 : 'stretch'
  return { channels: hasAlpha(image) ? 4 : 3, range }
}

/** Extra samples of an unknown meaning are none. */
function hasAlpha(image: GeoTIFFImage): boolean {
  const extra = image.fileDirectory.getValue('ExtraSamples') as ArrayLike<number> | undefined
  return image.getSamplesPerPixel() > 3 && (extra?.[0] === 1 || extra?.[0] === 2)
}

async function readBands(image: GeoTIFFImage, shrinker: Shrinker, signal: AbortSignal): Promise<void> {
  const [width, height] = [image.getWidth(), image.getHeight()]
  const block = Math.max(1, image.getTileHeight())
  const rows = Math.max(1, Math.round(BAND_PIXELS / width / block)) * block
  for (let top = 0; top < height; top += rows) {
    signal.throwIfAborted()
    const window = [0, top, width, Math.min(height, top + rows)]
    shrinker.add(await readBand(image, window, signal), top)
  }
}

function readBand(image: GeoTIFFImage, window: number[], signal: AbortSignal): Promise<ArrayLike<number>> {
  const options = { window, interleave: true as const, signal }
  const { channels } = coloursOf(image)
  if (isGrey(image) && !isPalette(image)) return image.readRasters({ ...options, samples: [0] })
  if (photometric(image) !== RGB) return image.readRGB(options)
  return image.readRasters({ ...options, samples: [0, 1, 2, 3].slice(0, channels) })
}
