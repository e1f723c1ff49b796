// What the first bytes of a file say: its format, and how large the picture is, before it is decoded.

export interface Header {
  format: 'png' | 'jpeg' | 'gif' | 'webp' | 'bmp' | 'tiff'
  /** Missing if they do not say. */
  width?: number
  height?: number
}

/** So many are enough to know the format. */
export const MAGIC_BYTES = 16

export function sniff(bytes: Uint8Array): Header | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  try {
    return PARSERS.map((parse) => parse(view)).find((header) => header !== undefined)
  } catch {
    // It ends too early.
    return undefined
  }
}

const PARSERS = [png, jpeg, gif, webp, bmp, tiff]

function has(view: DataView, at: number, text: string): boolean {
  if (view.byteLength < at + text.length) return false
  return [...text].every((char, index) => view.getUint8(at + index) === char.charCodeAt(0))
}

function png(view: DataView): Header | undefined {
  if (!has(view, 0, '\x89PNG\r\n\x1a\n')) return undefined
  if (view.byteLength < 24) return { format: 'png' }
  return { format: 'png', width: view.getUint32(16), height: view.getUint32(20) }
}

function gif(view: DataView): Header | undefined {
  if (!has(view, 0, 'GIF8')) return undefined
  return { format: 'gif', width: view.getUint16(6, true), height: view.getUint16(8, true) }
}

function bmp(view: DataView): Header | undefined {
  if (!has(view, 0, 'BM')) return undefined
  if (view.byteLength < 26) return { format: 'bmp' }
  // The oldest kind of header has shorter numbers.
  if (view.getUint32(14, true) === 12) {
    return { format: 'bmp', width: view.getUint16(18, true), height: view.getUint16(20, true) }
  }
  return { format: 'bmp', width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) }
}

function webp(view: DataView): Header | undefined {
  if (!has(view, 0, 'RIFF') || !has(view, 8, 'WEBP')) return undefined
  if (view.byteLength < 30) return { format: 'webp' }
  const format = 'webp'
  const little24 = (at: number) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16)
  if (has(view, 12, 'VP8X')) return { format, width: little24(24) + 1, height: little24(27) + 1 }
  if (has(view, 12, 'VP8L')) {
    const bits = view.getUint32(21, true)
    return { format, width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 }
  }
  return { format, width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }
}

function jpeg(view: DataView): Header | undefined {
  if (view.byteLength < 3 || view.getUint16(0) !== 0xffd8 || view.getUint8(2) !== 0xff) return undefined
  let at = 2
  while (at + 9 <= view.byteLength) {
    if (view.getUint8(at) !== 0xff) break
    const marker = view.getUint8(at + 1)
    if (marker === 0xff) {
      at += 1
      continue
    }
    // A frame of any kind: 0xc4, 0xc8 and 0xcc are something else.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return { format: 'jpeg', width: view.getUint16(at + 7), height: view.getUint16(at + 5) }
    }
    at += 2 + view.getUint16(at + 2)
  }
  return { format: 'jpeg' }
}

/** TIFF and BigTIFF, of either byte order. How large it is may stand anywhere. */
function tiff(view: DataView): Header | undefined {
  const magic = ['II*\0', 'MM\0*', 'II+\0', 'MM\0+']
  return magic.some((text) => has(view, 0, text)) ? { format: 'tiff' } : undefined
}
