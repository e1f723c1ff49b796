// Everything that runs in the open project: uploads, items of the queue, exports. One table, made of the lists as they
// are at the start and of the events from then on.

import { computed, signal } from '@preact/signals'
import {
  type Cancelled,
  type Export,
  type Operation as Kind,
  type QueueItem,
  TidegateError,
  type TidegateEvent,
  type Upload,
} from '@tidegate/client'

import { listen } from './feed.js'
import { Meter } from './meter.js'
import { client } from './session.js'
import { soon } from './soon.js'

export type { Kind }

/** States of all three kinds of operations. */
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
  /** A file's or an archive's name; of an item of the queue it has to be asked for by `imageId`. */
  name: string | undefined
  imageId?: string
  userId: string | null
  state: State
  /** Bytes of an upload that have arrived, of the whole if that is known. */
  received?: number
  length?: number | null
  /** 0 to 1. */
  share: number | undefined
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

/** Lists are read so far at the start; what comes behind that is counted. */
const READ_MAX = 1000
/** Ended ones are kept so far. */
const ENDED_MAX = 500

export function isActive({ state }: Operation): boolean {
  return ACTIVE.includes(state)
}

/** What went wrong or was ended stays among the active ones for a moment, so that it can be seen. */
const SEEN_FOR_MS = 12_000

/** Whether it ended just now, and not by being done. */
export function hasJustEnded({ state, endedAt }: Operation): boolean {
  return state !== 'completed' && endedAt !== undefined && performance.now() - endedAt < SEEN_FOR_MS
}

/** Whether a cancel of it makes sense. */
export function isCancellable(operation: Operation): boolean {
  return isActive(operation) && operation.state !== 'cancelling'
}

const known = new Map<string, Operation>()
const version = signal(0)

/** All of them, the newest last. */
export const operations = computed<readonly Operation[]>(() => {
  version.value
  return [...known.values()]
})

/** What the server is without is not shown. */
export const features = signal({ queue: true, export: true })

/** Active operations that were there before the page and are too many to be listed. */
export const unlisted = signal(0)

const changed = soon(() => {
  forgetOld()
  version.value += 1
})

function forgetOld(): void {
  const ended = [...known].filter(([, operation]) => !isActive(operation))
  for (const [key] of ended.slice(0, Math.max(0, ended.length - ENDED_MAX))) known.delete(key)
}

/** Reads what runs in a project now. What the feed has told meanwhile is newer, and stays. */
export async function loadOperations(projectId: string, signal: AbortSignal): Promise<void> {
  known.clear()
  unlisted.value = 0
  changed()
  const told = new Set<string>()
  const stop = listen((event) => told.add(keyOf(event)))
  const put = (operation: Operation) => {
    const key = `${operation.kind}/${operation.id}`
    if (!signal.aborted && !told.has(key)) known.set(key, operation)
  }
  try {
    const [queue, exports] = await Promise.all([
      optional(readItems(projectId, signal, put)),
      optional(readExports(projectId, signal, put)),
      readUploads(projectId, signal, put),
    ])
    if (!signal.aborted) features.value = { queue, export: exports }
  } finally {
    stop()
    changed()
  }
}

/** Whether the server has that at all. */
async function optional(reading: Promise<void>): Promise<boolean> {
  try {
    await reading
    return true
  } catch (error) {
    if (error instanceof TidegateError && error.status === 404) return false
    throw error
  }
}

type Put = (operation: Operation) => void

async function readUploads(projectId: string, signal: AbortSignal, put: Put): Promise<void> {
  for (const state of ['uploading', 'cancelling'] as const) {
    for (let page = 1; ; page += 1) {
      const { data, pagination } = await client.uploads(projectId, { state, page, limit: 100, signal })
      for (const upload of data.reverse()) put(ofUpload(upload))
      if (page >= pagination.totalPages) break
      if (page * 100 >= READ_MAX) {
        unlisted.value += pagination.total - READ_MAX
        break
      }
    }
  }
}

async function readItems(projectId: string, signal: AbortSignal, put: Put): Promise<void> {
  const state = 'queued,processing,cancelling'
  for (let page = 1; ; page += 1) {
    const { data, pagination } = await client.items(projectId, { state, page, limit: 100, signal })
    for (const item of data.reverse()) put(ofItem(item))
    if (page >= pagination.totalPages) break
    if (page * 100 >= READ_MAX) {
      unlisted.value += pagination.total - READ_MAX
      break
    }
  }
}

/** A user has one export of a project at a time, so the active ones are on the first page. */
async function readExports(projectId: string, signal: AbortSignal, put: Put): Promise<void> {
  const { data } = await client.exports(projectId, { limit: 100, signal })
  for (const found of data.reverse()) {
    const operation = ofExport(found)
    if (isActive(operation)) put(operation)
  }
}

function ofUpload({ id, filename, ownerId, state, offset, length }: Upload): Operation {
  const share = shareOf(offset, length)
  const meter = new Meter(offset)
  return {
    kind: 'upload',
    id,
    name: filename ?? undefined,
    userId: ownerId,
    state,
    received: offset,
    length,
    share,
    meter,
    interrupted: false,
  }
}

function ofItem({ id, imageId, userId, state, progress, error, model }: QueueItem): Operation {
  const share = progress === null ? undefined : progress / 100
  const message = error ?? model
  return {
    kind: 'queue',
    id,
    name: undefined,
    imageId,
    userId,
    state,
    share,
    message,
    meter: new Meter(),
    interrupted: false,
  }
}

export function ofExport({ id, projectName, userId, state, progress, message }: Export): Operation {
  const share = progress / 100
  return {
    kind: 'export',
    id,
    name: projectName,
    userId,
    state,
    share,
    message,
    meter: new Meter(),
    interrupted: false,
  }
}

function shareOf(received: number, length: number | null | undefined): number | undefined {
  if (length === null || length === undefined) return undefined
  return length === 0 ? 1 : received / length
}

/** `upload/ID`, `queue/ID`, `export/ID`, as the subject of its events. */
function keyOf({ subject }: TidegateEvent): string {
  return subject
}

/** `queue.item.cancelled` is of the kind `queue`, and says `cancelled`. */
function wordsOf(type: string): [Kind, string] | undefined {
  const words = type.split('.')
  const kind = words[0]
  const verb = words.at(-1)
  if (verb === undefined || type === 'queue.stats') return undefined
  if (kind === 'upload' || kind === 'queue' || kind === 'export') return [kind, verb]
  return undefined
}

/** Whoever waits for the confirmation of a cancel. */
const awaited = new Map<string, (freed: number) => void>()

listen((event) => {
  const words = wordsOf(event.type)
  if (words === undefined) return
  const [kind, verb] = words
  const key = keyOf(event)
  const { data } = event
  if (verb === 'deleted') {
    known.delete(key)
    return changed()
  }
  const operation = known.get(key) ?? begin(kind, data)
  apply(operation, verb, data)
  // What has just ended goes to the end, and the oldest of those are forgotten first.
  if (!isActive(operation)) {
    operation.endedAt = performance.now()
    known.delete(key)
  }
  known.set(key, operation)
  if (verb === 'cancelled') awaited.get(key)?.(operation.freed ?? 0)
  changed()
})

function begin(kind: Kind, data: TidegateEvent['data']): Operation {
  const imageId = typeof data.imageId === 'string' ? { imageId: data.imageId } : {}
  const name = typeof data.filename === 'string' ? data.filename : undefined
  const { id, userId } = data
  const state = data.state as State
  return { kind, id, name, ...imageId, userId, state, share: undefined, meter: new Meter(), interrupted: false }
}

function apply(operation: Operation, verb: string, data: TidegateEvent['data']): void {
  operation.state = data.state as State
  operation.interrupted = verb === 'interrupted' || (operation.interrupted && verb !== 'resumed' && verb !== 'progress')
  operation.reason = text(data.reason) ?? operation.reason
  operation.message = text(data.error) ?? text(data.message) ?? text(data.model) ?? operation.message
  operation.freed = number(data.releasedBytes) ?? operation.freed
  if (operation.kind === 'upload') {
    operation.length = number(data.length) ?? operation.length ?? null
    operation.received = number(data.received) ?? number(data.offset) ?? 0
    operation.share = shareOf(operation.received, operation.length)
    if (isActive(operation)) operation.meter.reach(operation.received)
  } else {
    const percent = number(data.progress)
    operation.share = percent === undefined ? operation.share : percent / 100
    operation.meter.touch()
  }
  if (operation.state === 'completed') operation.share = 1
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

/** What a cancel came to, and how long it took until nothing was left. */
export interface Stopped {
  freed: number
  inMs: number
}

/** A confirmation that does not come in this time is told by the feed alone. */
const CONFIRMED_WITHIN_MS = 30_000

/** Tells how much was freed as soon as the feed says that nothing is left. */
function confirmation(operation: Operation): Promise<number> {
  return new Promise((resolve) => {
    const key = `${operation.kind}/${operation.id}`
    const giveUp = setTimeout(() => settle(operation.received ?? 0), CONFIRMED_WITHIN_MS)
    const settle = (freed: number) => {
      clearTimeout(giveUp)
      awaited.delete(key)
      resolve(freed)
    }
    awaited.set(key, settle)
  })
}

/** Cancels one. `undefined` if it had ended before. */
export async function cancel(operation: Operation, projectId: string, reason?: string): Promise<Stopped | undefined> {
  const begun = performance.now()
  const confirmed = confirmation(operation)
  const ended = await ask(operation, projectId, reason)
  if (ended.outcome.startsWith('already')) return undefined
  const freed = ended.outcome === 'cancelled' ? ended.releasedBytes : await confirmed
  return stopped(operation, freed, performance.now() - begun)
}

function stopped(operation: Operation, freed: number, inMs: number): Stopped {
  operation.stoppedInMs = inMs
  operation.freed = freed
  changed()
  return { freed, inMs }
}

/** What was cancelled in this page, and so not by somebody else. */
const ours = new Set<string>()

export function isOurs(id: string): boolean {
  return ours.has(id)
}

function ask({ kind, id }: Operation, projectId: string, reason?: string): Promise<Cancelled> {
  ours.add(id)
  if (kind === 'upload') return client.cancelUpload(id, reason)
  if (kind === 'queue') return client.cancelItem(id, reason)
  return client.cancelExport(projectId, id, reason)
}

/** What a cancel of several came to. */
export interface StoppedAll extends Stopped {
  count: number
  /** Why the others were not. */
  refused: unknown[]
}

/** Cancels several at once: the uploads in one call, everything else in as many as there are. */
export async function cancelAll(chosen: Operation[], projectId: string, reason?: string): Promise<StoppedAll> {
  const begun = performance.now()
  const uploads = chosen.filter(({ kind }) => kind === 'upload')
  const others = chosen.filter(({ kind }) => kind !== 'upload')
  const results = await Promise.allSettled([
    ...(uploads.length > 0 ? [cancelUploads(uploads, projectId, reason)] : []),
    ...others.map(async (operation) => [await cancel(operation, projectId, reason)]),
  ])
  const done = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []))
  const ended = done.filter((one) => one !== undefined)
  return {
    count: ended.length,
    freed: ended.reduce((sum, { freed }) => sum + freed, 0),
    inMs: performance.now() - begun,
    refused: results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : [])),
  }
}

async function cancelUploads(uploads: Operation[], projectId: string, reason?: string): Promise<Stopped[]> {
  const begun = performance.now()
  const confirmed = new Map(uploads.map((upload) => [upload.id, confirmation(upload)]))
  const ids = uploads.map(({ id }) => id)
  for (const id of ids) ours.add(id)
  const { results } = await client.cancelUploads(projectId, ids, reason)
  const accepted = results.filter(({ outcome }) => outcome === 'cancelled' || outcome === 'cancelling')
  return Promise.all(
    accepted.map(async ({ id }) => {
      const freed = (await confirmed.get(id)) ?? 0
      const operation = known.get(`upload/${id}`)
      const inMs = performance.now() - begun
      return operation === undefined ? { freed, inMs } : stopped(operation, freed, inMs)
    }),
  )
}
