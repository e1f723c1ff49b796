// What was found, drawn over its picture.

import type { Polygon, Result } from './types.js'

/** So many outlines get an edge to stand out from any ground, and dashes. More would take too long. */
const FINE_MAX = 5000
/** A path with too many outlines is slow to be drawn. */
const PER_PATH = 1000
/** Points that are closer than so many pixels of the screen are not told apart. */
const APART = { fine: 0.5, many: 1 }

const OBJECT = '#00e5ff'
const HOLE = '#ff5cf0'
const EDGE = 'rgb(0 0 0 / 65%)'

/** Outlines of one kind, drawn together. */
interface Part {
  type: Polygon['type']
  polygons: Polygon[]
  path?: Path2D
}

interface Parts {
  scale: number
  parts: Part[]
}

/** They are the same until the picture has another size. */
const prepared = new WeakMap<Result, Parts>()

/**
 * Draws as long as it is asked to go on, so that what has very many does not hold up the page.
 * `scale`: pixels of the screen for one of the image; `density`: those for one of CSS.
 */
export function* drawOutlines(
  context: CanvasRenderingContext2D,
  result: Result,
  scale: number,
  density: number,
): Generator<void> {
  const isFine = result.polygons.length <= FINE_MAX
  context.lineJoin = 'round'
  for (const part of partsOf(result, scale)) {
    part.path ??= pathOf(part.polygons, scale, isFine ? APART.fine : APART.many)
    if (isFine) stroke(context, part.path, EDGE, 3.5 * density)
    context.setLineDash(isFine && part.type === 'internal' ? [5 * density, 3 * density] : [])
    stroke(
      context,
      part.path,
      part.type === 'external' ? OBJECT : HOLE,
      isFine ? 1.75 * density : Math.max(1, 0.6 * density),
    )
    context.setLineDash([])
    yield
  }
}

function stroke(context: CanvasRenderingContext2D, path: Path2D, style: string, width: number): void {
  context.strokeStyle = style
  context.lineWidth = width
  context.stroke(path)
}

function partsOf(result: Result, scale: number): Part[] {
  const known = prepared.get(result)
  if (known?.scale === scale) return known.parts
  const parts: Part[] = []
  for (const type of ['external', 'internal'] as const) {
    const chosen = result.polygons.filter((polygon) => polygon.type === type)
    for (let from = 0; from < chosen.length; from += PER_PATH) {
      parts.push({ type, polygons: chosen.slice(from, from + PER_PATH) })
    }
  }
  prepared.set(result, { scale, parts })
  return parts
}

function pathOf(polygons: Polygon[], scale: number, apart: number): Path2D {
  const path = new Path2D()
  for (const polygon of polygons) outline(path, polygon, scale, apart)
  return path
}

function outline(path: Path2D, { points }: Polygon, scale: number, apart: number): void {
  let [lastX, lastY] = [Number.NaN, Number.NaN]
  for (const point of points) {
    const [x, y] = [point.x * scale, point.y * scale]
    if (Number.isNaN(lastX)) path.moveTo(x, y)
    else if (Math.abs(x - lastX) < apart && Math.abs(y - lastY) < apart) continue
    else path.lineTo(x, y)
    lastX = x
    lastY = y
  }
  path.closePath()
}

/** Numbers about what was found. Areas are in pixels of the image. */
export interface Numbers {
  objects: number
  holes: number
  totalArea: number
  meanArea: number | undefined
}

export function numbersOf({ polygons }: Result): Numbers {
  let [objects, totalArea] = [0, 0]
  for (const polygon of polygons) {
    if (polygon.type === 'internal') continue
    objects += 1
    totalArea += polygon.area ?? areaOf(polygon)
  }
  const meanArea = objects === 0 ? undefined : totalArea / objects
  return { objects, holes: polygons.length - objects, totalArea, meanArea }
}

/** Where its worker has not said. */
function areaOf({ points }: Polygon): number {
  let twice = 0
  let before = points.at(-1)
  for (const point of points) {
    if (before) twice += before.x * point.y - point.x * before.y
    before = point
  }
  return Math.abs(twice) / 2
}
