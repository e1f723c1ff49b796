import { useEffect, useMemo, useRef, useState } from 'preact/hooks'

import { text } from '../text.js'
import type { Size } from './bounds.js'
import { nameOf } from './gallery.js'
import { drawOutlines, numbersOf } from './outlines.js'
import type { ProjectImage, Result } from './types.js'
import type { Shown } from './viewing.js'

const words = text.images.viewer

interface Props {
  image: ProjectImage
  picture: Shown
  result: Result | null | undefined
  hasOutlines: boolean
}

/** A picture with outlines over it, as large as there is room; as sharp as the screen is. */
export function Stage({ image, picture, result, hasOutlines }: Props) {
  const stage = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)
  const room = useRoom(stage)
  const bitmap = picture && 'bitmap' in picture ? picture.bitmap : undefined
  const why = picture && 'why' in picture ? picture.why : undefined
  // Without a picture there may be outlines nevertheless.
  const natural = bitmap ? picture : result?.imageSize
  const size = natural && 'width' in natural ? within(natural, room) : undefined
  const label = useMemo(() => labelOf(image, result), [image, result])
  const isLoading = picture === undefined || result === undefined
  useEffect(() => {
    if (canvas.current === null || size === undefined || isLoading) return
    return draw(canvas.current, size, bitmap, hasOutlines ? result : undefined)
  }, [size?.width, size?.height, bitmap, result, hasOutlines, isLoading, room.density])
  return (
    <div class="stage" ref={stage} aria-busy={isLoading}>
      <canvas
        ref={canvas}
        role="img"
        aria-label={label}
        hidden={size === undefined || isLoading}
        style={{ width: `${size?.width ?? 0}px`, height: `${size?.height ?? 0}px` }}
      />
      {isLoading && <p class="stage-note">{text.loading}</p>}
      {!isLoading && why && <p class="stage-note">{why === 'unread' ? words.unread : words.unshown[why]}</p>}
    </div>
  )
}

function labelOf(image: ProjectImage, result: Result | null | undefined): string {
  if (!result) return words.alone(nameOf(image))
  const { objects, holes } = numbersOf(result)
  return words.summary(nameOf(image), objects, holes)
}

interface Room extends Size {
  /** Pixels of the screen for one of CSS. */
  density: number
}

/** How much room there is, also when the window has another size or the page is zoomed. */
function useRoom(stage: { current: HTMLDivElement | null }): Room {
  const [room, setRoom] = useState<Room>({ width: 0, height: 0, density: 1 })
  useEffect(() => {
    const element = stage.current
    if (element === null) return
    const measure = () =>
      setRoom({ width: element.clientWidth, height: element.clientHeight, density: devicePixelRatio })
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    measure()
    return () => observer.disconnect()
  }, [stage])
  return room
}

/** As large as fits. Small pictures are made larger, so that outlines can be told apart. */
function within({ width, height }: Size, room: Size): Size | undefined {
  const scale = Math.min(room.width / width, room.height / height, 8)
  if (!(scale > 0)) return undefined
  return { width: Math.max(1, Math.floor(width * scale)), height: Math.max(1, Math.floor(height * scale)) }
}

/** Drawing is given up after so many milliseconds, until the next frame. */
const STEP_MS = 20

/** Draws until the answer is called. */
function draw(
  canvas: HTMLCanvasElement,
  size: Size,
  bitmap: ImageBitmap | undefined,
  result: Result | null | undefined,
): () => void {
  const density = devicePixelRatio
  canvas.width = Math.round(size.width * density)
  canvas.height = Math.round(size.height * density)
  const context = canvas.getContext('2d')
  if (context === null) return () => {}
  context.imageSmoothingQuality = 'high'
  if (bitmap) context.drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  if (!result) return () => {}
  const steps = drawOutlines(context, result, canvas.width / result.imageSize.width, density)
  let frame = 0
  const step = () => {
    const until = performance.now() + STEP_MS
    while (performance.now() < until) if (steps.next().done) return
    frame = requestAnimationFrame(step)
  }
  step()
  return () => cancelAnimationFrame(frame)
}
