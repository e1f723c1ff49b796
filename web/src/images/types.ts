// What the server tells of images, as `docs/http.md` says.

import type { SegmentationStatus } from '@tidegate/client'

export interface ProjectImage {
  id: string
  projectId: string
  filename: string | null
  contentType: string | null
  size: number
  createdAt: string
  segmentationStatus: SegmentationStatus
  /** A path. */
  url: string
}

export interface Point {
  x: number
  y: number
}

export interface Polygon {
  points: Point[]
  type: 'external' | 'internal'
  area?: number
}

/** What the last worker that was done has found. */
export interface Result {
  imageId: string
  itemId: string
  model: string
  threshold: number
  createdAt: string
  polygons: Polygon[]
  imageSize: { width: number; height: number }
  processingTimeMs?: number
}

/** How the queue is. */
export interface Health {
  mlServiceHealthy: boolean
  /** Not told by older servers. */
  models?: string[]
}
