// What the server sends, as `docs/http.md` and `docs/events.md` say. Times are RFC 3339, sizes bytes.

export type UploadState = 'uploading' | 'completed' | 'cancelling' | 'cancelled' | 'expired' | 'failed'
export type ItemState = 'queued' | 'processing' | 'completed' | 'failed' | 'cancelling' | 'cancelled'
export type ExportState = ItemState

export interface Upload {
  id: string
  projectId: string
  ownerId: string
  state: UploadState
  /** Committed bytes. */
  offset: number
  /** `null` while it is not known. */
  length: number | null
  filename: string | null
  contentType: string | null
  metadata: Record<string, string>
  /** `null` until it is complete, and for an upload made of parts a little longer. */
  sha256: string | null
  createdAt: string
  updatedAt: string
  completedAt: string | null
  expiresAt: string | null
  /** Whether its sender has gone away, and nobody is back. */
  interrupted: boolean
  /** Why it has ended: in the canceller's words, or the server's of one that failed. */
  reason: string | null
  /** A path. */
  url: string
}

/** An image on its way through the processing queue. */
export interface QueueItem {
  id: string
  imageId: string
  projectId: string
  userId: string
  batchId: string | null
  model: string
  threshold: number
  detectHoles: boolean
  priority: number
  state: ItemState
  attempt: number
  /** 0 to 100; `null` if its worker has not said. */
  progress: number | null
  createdAt: string
  updatedAt: string
  startedAt: string | null
  finishedAt: string | null
  error: string | null
  cancelReason: string | null
  how: 'before_start' | 'worker' | 'lease_expired' | null
  imageStatus: SegmentationStatus
}

export type SegmentationStatus = 'no_segmentation' | 'queued' | 'processing' | 'segmented' | 'failed'

/** An archive of a project that is made, or was. */
export interface Export {
  id: string
  projectId: string
  userId: string
  state: ExportState
  /** 0 to 100. */
  progress: number
  stage: string
  message: string
  stageProgress: { current: number; total: number } | null
  projectName: string
  /** Bytes of the archive, once it is whole. */
  size: number | null
  warnings: string[]
  error: string | null
  cancelReason: string | null
  cancelledAt: string | null
  createdAt: string
  updatedAt: string
  startedAt: string | null
  completedAt: string | null
  finishedAt: string | null
  expiresAt: string | null
  downloadable: boolean
}

/** A page of a list. */
export interface Page<T> {
  data: T[]
  pagination: { page: number; limit: number; total: number; totalPages: number }
}

export type Operation = 'upload' | 'export' | 'queue'

export type Outcome = 'cancelled' | 'cancelling' | 'already_cancelled' | 'already_completed' | 'already_failed'

/** What a cancel came to. `cancelling` is final as well; that the bytes are gone follows as an event. */
export interface Cancelled {
  operation: Operation
  id: string
  outcome: Outcome
  state: string
  cancelledAt: string | null
  releasedBytes: number
}

/** What a cancel of several came to. */
export interface BulkCancelled {
  cancelled: number
  cancelling: number
  unchanged: number
  total: number
  /** Whether the call has to be repeated for the rest. */
  more: boolean
  results: { id: string; outcome: Outcome | 'not_found' | 'forbidden'; state: string | null }[]
}

/** A CloudEvent, as every feed tells it. */
export interface TidegateEvent {
  specversion: '1.0'
  /** The same each time that it is delivered. */
  id: string
  source: string
  type: string
  subject: string
  time: string
  feed: string
  /** Its place in the feed; live-only events have none. */
  sequence?: string
  data: EventData
}

export interface EventData {
  id: string
  projectId: string
  userId: string | null
  state: string
  [member: string]: unknown
}

/** A refusal, RFC 9457. */
export interface Problem {
  type: string
  title: string
  status: number
  detail?: string
  instance?: string
  /** For programs; never changes. */
  code: string
  errors?: Record<string, string[]>
  reason?: string
  cancelledAt?: string
  [member: string]: unknown
}
