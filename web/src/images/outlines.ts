// What was found, drawn over its picture.

import type { Polygon, Result } from './types.js'

/** So many outlines get an edge to stand out from any ground, and dashes. More would take too long. */
const FINE_MAX = 5000
/** A path with too many outlines is slow to be drawn. */
const PER_PATH = 1000
/** Points that are closer than so many pixels of the screen are not told apart. */
const APART = 0.6

const OBJECT = '#00e5ff'
const HOLE = '#ff5cf0'
const EDGE = 'rgb(0 0 0 / 65%)'

/** `scale`: pixels of the screen for one of the image; `density`: those for one of CSS. */
export function drawOutlines(
  context: CanvasRenderingContext2D,
  { polygons }: Result,
  scale: number,
  density: number,
): void {
  const isFine = polygons.length <= FINE_MAX
  context.lineJoin = 'round'
  for (const type of ['external', 'internal'] as const) {
    const chosen = polygons.filter((polygon) => polygon.type === type)
    const paths = pathsOf(chosen, scale)
    if (isFine) stroke(context, paths, EDGE, 3.5 * density)
    context.setLineDash(isFine && type === 'internal' ? [5 * density, 3 * density] : [])
    stroke(context, paths, type === 'external' ? OBJECT : HOLE, (isFine ? 1.75 : 1) * density)
    context.setLineDash([])
  }
}

function stroke(context: CanvasRenderingContext2D, paths: Path2D[], style: string, width: number): void {
  context.strokeStyle = style
  context.lineWidth = width
  for (const path of paths) context.stroke(path)
}

function pathsOf(polygons: Polygon[], scale: number): Path2D[] {
  const paths: Path2D[] = []
  for (let from = 0; from < polygons.length; from += PER_PATH) {
    const path = new Path2D()
    for (const polygon of polygons.slice(from, from + PER_PATH)) outline(path, polygon, scale)
    paths.push(path)
  }
  return paths
}

function outline(path: Path2D, { points }: Polygon, scale: number): void {
  let [lastX, lastY] = [Number.NaN, Number.NaN]
  for (const point of points) {
    const [x, y] = [point.x * scale, point.y * scale]
    if (Number.isNaN(lastX)) path.moveTo(x, y)
    else if (Math.abs(x - lastX) < APART && Math.abs(y - lastY) < APART) continue
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
