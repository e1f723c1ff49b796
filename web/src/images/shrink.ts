// Makes a picture smaller by the mean of the pixels that fall on one, and lets it be seen: values of any kind come in,
// bytes go out.

import type { Size } from './bounds.js'

export interface Colours {
  /** 1: grey, 3: colours, 4: colours and how opaque they are. */
  channels: 1 | 3 | 4
  /** The value of white; or the least value is black and the greatest one white. */
  range: 255 | 'stretch'
  isInverted?: boolean
}

interface Options extends Colours {
  from: Size
  to: Size
}

export class Shrinker {
  readonly #options: Options
  readonly #sums: Float32Array
  readonly #counts: Uint32Array
  /** Where each column goes. */
  readonly #columns: Uint32Array

  constructor(options: Options) {
    this.#options = options
    const { from, to, channels } = options
    this.#sums = new Float32Array(to.width * to.height * channels)
    this.#counts = new Uint32Array(to.width * to.height)
    this.#columns = Uint32Array.from({ length: from.width }, (_, x) => Math.floor((x * to.width) / from.width))
  }

  /** Rows from `top` on, with the channels of a pixel together. */
  add(values: ArrayLike<number>, top: number): void {
    const { from, to, channels } = this.#options
    const [sums, counts, columns] = [this.#sums, this.#counts, this.#columns]
    const rows = values.length / from.width / channels
    let at = 0
    for (let y = top; y < top + rows; y += 1) {
      const line = Math.floor((y * to.height) / from.height) * to.width
      for (let x = 0; x < from.width; x += 1, at += channels) {
        const first = values[at] as number
        // Not a number where nothing was measured.
        if (!Number.isFinite(first)) continue
        const pixel = line + (columns[x] as number)
        counts[pixel] = (counts[pixel] as number) + 1
        for (let channel = 0; channel < channels; channel += 1) {
          const sum = pixel * channels + channel
          sums[sum] = (sums[sum] as number) + (values[at + channel] as number)
        }
      }
    }
  }

  paint(): ImageData {
    const { to: size, channels, isInverted = false } = this.#options
    const means = this.#means()
    const [least, span] = this.#span(means)
    const image = new ImageData(size.width, size.height)
    const { data } = image
    const alphaSpan = channels === 4 ? this.#alphaSpan(means) : 1
    for (let pixel = 0; pixel < size.width * size.height; pixel += 1) {
      const [from, to] = [pixel * channels, pixel * 4]
      for (let channel = 0; channel < 3; channel += 1) {
        const value = means[from + (channels === 1 ? 0 : channel)] as number
        // A clamped array rounds, and takes 0 for what is not a number.
        const light = ((value - least) / span) * 255
        data[to + channel] = isInverted ? 255 - light : light
      }
      data[to + 3] = channels === 4 ? ((means[from + 3] as number) / alphaSpan) * 255 : 255
    }
    return image
  }

  #means(): Float32Array {
    const { channels } = this.#options
    const sums = this.#sums
    for (let at = 0; at < sums.length; at += 1) {
      sums[at] = (sums[at] as number) / (this.#counts[Math.floor(at / channels)] as number)
    }
    return sums
  }

  /** The value of black, and how far white is from it. */
  #span(means: Float32Array): [number, number] {
    const { channels, range } = this.#options
    if (range !== 'stretch') return [0, range]
    let [least, greatest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    for (let at = 0; at < means.length; at += 1) {
      if (channels === 4 && at % 4 === 3) continue
      const value = means[at] as number
      if (value < least) least = value
      if (value > greatest) greatest = value
    }
    // All the same: black if it is nothing, else half way.
    if (least === greatest) return least === 0 ? [0, 1] : [least - 1, 2]
    return [least, greatest - least]
  }

  /** What is fully opaque: the greatest number that the samples' kind has is at least what there is. */
  #alphaSpan(means: Float32Array): number {
    let greatest = 0
    for (let at = 3; at < means.length; at += 4) greatest = Math.max(greatest, means[at] as number)
    return [1, 255, 65_535].find((limit) => greatest <= limit) ?? 4_294_967_295
  }
}
