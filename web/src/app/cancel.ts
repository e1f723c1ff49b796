// Cancels of whatever runs, and how long they take.

import type { Cancelled } from '@tidegate/client'

import { text } from '../text.js'
import { keyOf, type Operation } from './operation.js'
import { awaited, changed, find } from './operations.js'
import { client } from './session.js'

/** What a cancel came to, and how long it took until nothing was left. */
export interface Stopped {
  freed: number
  inMs: number
}

/** For so long a confirmation is waited for. The cancel is final without it. */
const CONFIRMED_WITHIN_MS = 30_000

/** Tells how much was freed as soon as the feed says that nothing is left. */
function confirmation(operation: Operation): Promise<number> {
  const key = keyOf(operation)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const giveUp = setTimeout(() => reject(new Error(text.operations.unconfirmed)), CONFIRMED_WITHIN_MS)
  // Who has the answer need not wait.
  promise.catch(() => {})
  awaited.set(key, (freed) => {
    clearTimeout(giveUp)
    awaited.delete(key)
    resolve(freed)
  })
  return promise
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
      const operation = find(keyOf({ kind: 'upload', id }))
      const inMs = performance.now() - begun
      return operation === undefined ? { freed, inMs } : stopped(operation, freed, inMs)
    }),
  )
}
