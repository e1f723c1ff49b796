// What is asked of the processing queue: whether there is one, to segment, and to stop it.

import { signal } from '@preact/signals'
import { type QueueItem, TidegateError } from '@tidegate/client'

import { cancel } from '../app/cancel.js'
import { isCancellable, type Operation, ofItem } from '../app/operation.js'
import { operations } from '../app/operations.js'
import { path } from '../app/projects.js'
import { client } from '../app/session.js'
import { type Entry, isActive, refresh, setStatus } from './gallery.js'
import type { Health } from './types.js'

/** A server may be without a queue. `undefined` until it is known. */
export const health = signal<Health | 'absent' | undefined>(undefined)

/** With which the next images are segmented: as it was chosen last, as long as the page is open. */
export const model = signal<string | undefined>(undefined)
export const threshold = signal(0.5)

export const THRESHOLD = { min: 0.1, max: 0.9, step: 0.05 }

export function hasQueue(): boolean {
  return health.value !== undefined && health.value !== 'absent'
}

export async function loadHealth(signal: AbortSignal): Promise<void> {
  try {
    const told = await client.call<Health>('GET', path('queue', 'health'), { signal })
    health.value = told
    if (!told.models?.includes(model.peek() ?? '')) model.value = told.models?.[0]
  } catch (error) {
    if (error instanceof TidegateError && error.status === 404) health.value = 'absent'
    else throw error
  }
}

/** A worker has just been heard of. */
export function seenWorker(): void {
  const known = health.peek()
  if (known !== undefined && known !== 'absent' && !known.mlServiceHealthy) {
    health.value = { ...known, mlServiceHealthy: true }
  }
}

/** Members that are `undefined` are not sent. */
function order() {
  return { model: model.peek(), threshold: threshold.peek() }
}

export async function segment(entry: Entry): Promise<void> {
  const item = await asking([entry], 'segment', () =>
    client.call<QueueItem>('POST', path('queue', 'images', entry.id), { body: order() }),
  )
  began(entry, item)
}

/** What became of several. */
export interface Enqueued {
  queued: number
  /** Those that waited or were processed already. */
  skipped: number
}

export async function segmentAll(projectId: string, chosen: readonly Entry[]): Promise<Enqueued> {
  const imageIds = chosen.map(({ id }) => id)
  const body = { projectId, imageIds, ...order(), forceResegment: true }
  const batch = await asking(chosen, 'segment', () =>
    client.call<{ queueEntries: QueueItem[]; skipped: unknown[] }>('POST', path('queue', 'batch'), { body }),
  )
  const items = new Map(batch.queueEntries.map((item) => [item.imageId, item]))
  for (const entry of chosen) {
    entry.selected.value = false
    const item = items.get(entry.id)
    if (item) began(entry, item)
  }
  return { queued: items.size, skipped: batch.skipped.length }
}

/** The events may have been quicker, and tell more. */
function began(entry: Entry, item: QueueItem): void {
  entry.failure.value = undefined
  if (entry.ended === item.id || entry.item.peek()?.id === item.id) return
  entry.item.value = { id: item.id, progress: undefined }
  setStatus(entry, item.imageStatus)
}

/**
 * Stops what is done with an image. The answer are the milliseconds until nothing of it was left; `undefined` if it had
 * ended before.
 */
export function stop(entry: Entry, projectId: string): Promise<number | undefined> {
  return asking([entry], 'stop', async () => {
    const operation = await runningFor(entry, projectId)
    const stopped = operation && (await cancel(operation, projectId))
    if (isActive(entry.image.peek().segmentationStatus)) await refresh(entry)
    return stopped?.inMs
  })
}

/** What is done with an image. More may run than is listed. */
async function runningFor(entry: Entry, projectId: string): Promise<Operation | undefined> {
  const id = entry.item.peek()?.id
  const isIts = (one: Operation) => one.imageId === entry.id && isCancellable(one) && (one.id === id || !id)
  const listed = operations.peek().find(isIts)
  if (listed !== undefined) return listed
  const query = { imageId: entry.id, state: 'queued,processing', limit: 1 }
  const [item] = (await client.items(projectId, query)).data
  return item && ofItem(item)
}

/** A cancel may wait for its confirmation when the image is asked for again. */
async function asking<T>(chosen: readonly Entry[], what: 'segment' | 'stop', work: () => Promise<T>): Promise<T> {
  for (const entry of chosen) entry.asked.value = what
  try {
    return await work()
  } finally {
    for (const entry of chosen) if (entry.asked.peek() === what) entry.asked.value = undefined
  }
}
