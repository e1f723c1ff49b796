// Something that runs, or did: an upload, an item of the queue, an export. Made of what a list says of it, and changed by
// its events.

import type { Export, Operation as Kind, QueueItem, TidegateEvent, Upload } from '@tidegate/client'

import { Meter } from './meter.js'
import { pathOf } from './names.js'

export type { Kind }

/** States of all three kinds. */
export const STATES = [
  'uploading',
  'queued',
  'processing',
  'cancelling',
  'completed',
  'cancelled',
  'failed',
  'expired',
] as const

export type State = (typeof STATES)[number]

export interface Operation {
  kind: Kind
  id: string
  /** A file's or an archive's; of an item of the queue it has to be asked for by `imageId`. */
  name?: string | undefined
  imageId?: string | undefined
  userId: string | null
  state: State
  /** Bytes of an upload that have arrived, of the whole if that is known. */
  received?: number
  length?: number | null
  /** 0 to 1; `undefined` while nobody knows. */
  share?: number | undefined
  meter: Meter
  /** Nobody is sending it, until somebody comes back. */
  interrupted: boolean
  reason?: string | undefined
  /** What the server says of it: an export's stage, an error. */
  message?: string | undefined
  freed?: number | undefined
  /** When the feed has told its end, by `performance.now()`. */
  endedAt?: number
  /** From the click to the confirmation that nothing of it is left. */
  stoppedInMs?: number
}

const ACTIVE: readonly State[] = ['uploading', 'queued', 'processing', 'cancelling']

export function isActive({ state }: Operation): boolean {
  return ACTIVE.includes(state)
}

/** Whether a cancel of it makes sense. */
export function isCancellable(operation: Operation): boolean {
  return isActive(operation) && operation.state !== 'cancelling'
}

/** What went wrong or was ended stays among the active ones for a moment, so that it can be seen. */
const SEEN_FOR_MS = 12_000

/** Whether it ended just now, and not by being done. */
export function hasJustEnded({ state, endedAt }: Operation): boolean {
  return state !== 'completed' && endedAt !== undefined && performance.now() - endedAt < SEEN_FOR_MS
}

/** As the subject of its events: `upload/ID`, `queue/ID`, `export/ID`. */
export function keyOf({ kind, id }: Pick<Operation, 'kind' | 'id'>): string {
  return `${kind}/${id}`
}

export function ofUpload(upload: Upload): Operation {
  const { id, ownerId, state, offset, length } = upload
  return {
    kind: 'upload',
    id,
    name: pathOf(upload),
    userId: ownerId,
    state,
    received: offset,
    length,
    share: shareOf(offset, length),
    meter: new Meter(offset),
    interrupted: upload.interrupted,
  }
}

export function ofItem({ id, imageId, userId, state, progress, error, model }: QueueItem): Operation {
  const share = progress === null ? undefined : progress / 100
  const message = error ?? model
  return { kind: 'queue', id, imageId, userId, state, share, message, meter: new Meter(), interrupted: false }
}

export function ofExport({ id, projectName: name, userId, state, progress, message }: Export): Operation {
  const share = progress / 100
  return { kind: 'export', id, name, userId, state, share, message, meter: new Meter(), interrupted: false }
}

/** One that only an event has told of. */
export function ofEvent(kind: Kind, { id, userId, state, ...more }: TidegateEvent['data']): Operation {
  const [name, imageId] = [text(more.filename), text(more.imageId)]
  // What had arrived before says nothing of how fast it is.
  const meter = new Meter(receivedOf(more))
  return { kind, id, name, imageId, userId, state: state as State, meter, interrupted: false }
}

/** `queue.item.cancelled` is of the kind `queue`, and says `cancelled`. */
export function wordsOf(type: string): [Kind, string] | undefined {
  const words = type.split('.')
  const [kind, verb] = [words[0], words.at(-1)]
  if (verb === undefined || type === 'queue.stats') return undefined
  return kind === 'upload' || kind === 'queue' || kind === 'export' ? [kind, verb] : undefined
}

/** Takes over what an event says. */
export function apply(operation: Operation, verb: string, data: TidegateEvent['data']): void {
  operation.state = data.state as State
  operation.interrupted = verb === 'interrupted' || (operation.interrupted && verb !== 'resumed' && verb !== 'progress')
  operation.reason = text(data.reason) ?? operation.reason
  operation.message = text(data.error) ?? text(data.message) ?? text(data.model) ?? operation.message
  operation.freed = number(data.releasedBytes) ?? operation.freed
  if (operation.kind === 'upload') {
    operation.length = number(data.length) ?? operation.length ?? null
    operation.received = receivedOf(data)
    operation.share = shareOf(operation.received, operation.length)
    if (isActive(operation)) operation.meter.reach(operation.received)
  } else {
    const percent = number(data.progress)
    operation.share = percent === undefined ? operation.share : percent / 100
    operation.meter.touch()
  }
  if (operation.state === 'completed') operation.share = 1
  if (!isActive(operation)) operation.endedAt = performance.now()
}

function receivedOf(data: Record<string, unknown>): number {
  return number(data.received) ?? number(data.offset) ?? 0
}

function shareOf(received: number, length: number | null | undefined): number | undefined {
  if (length === null || length === undefined) return undefined
  return length === 0 ? 1 : received / length
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}
