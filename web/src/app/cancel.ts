// Cancels of whatever runs, and how long they take.

import { type BulkCancelled, type Cancelled, TidegateError, type TidegateEvent } from '@tidegate/client'

import { text } from '../text.js'
import { listen } from './feed.js'
import { Limit } from './limit.js'
import { notify } from './notices.js'
import { keyOf, type Operation } from './operation.js'
import { accepted, stopped } from './operations.js'
import { patiently } from './patience.js'
import { client } from './session.js'

/** What a cancel came to, and how long it took until nothing was left. */
export interface Stopped {
  freed: number
  inMs: number
}

/** `late`: it had ended before. `unconfirmed`: it is cancelled for good, and nobody has said that nothing is left. */
type End = Stopped | 'late' | 'unconfirmed'

/** For so long a confirmation is waited for. The cancel is final without it. */
const CONFIRMED_WITHIN_MS = 30_000

/** Calls at once: a browser has six connections, and a server may count calls. */
const AT_ONCE = 4

/** Hears what is cancelled from now on until it is closed, since an event may be quicker than the answer. */
class Ear {
  readonly #told = new Map<string, number>()
  readonly #waiting = new Map<string, (freed: number) => void>()
  readonly close = listen((event) => this.#hear(event))

  #hear({ type, subject, data }: TidegateEvent): void {
    if (!type.endsWith('.cancelled')) return
    const freed = Number(data.releasedBytes ?? 0)
    this.#told.set(subject, freed)
    this.#waiting.get(subject)?.(freed)
  }

  /** How much of it was freed; `undefined` if nobody says so in time. */
  freed(key: string): Promise<number | undefined> {
    const told = this.#told.get(key)
    if (told !== undefined) return Promise.resolve(told)
    const { promise, resolve } = Promise.withResolvers<number | undefined>()
    const giveUp = setTimeout(resolve, CONFIRMED_WITHIN_MS, undefined)
    this.#waiting.set(key, (freed) => {
      clearTimeout(giveUp)
      resolve(freed)
    })
    return promise
  }
}

/** Cancels one. `undefined` if it had ended before. */
export async function cancel(operation: Operation, projectId: string, reason?: string): Promise<Stopped | undefined> {
  const begun = performance.now()
  const ear = new Ear()
  try {
    const { outcome, releasedBytes } = await ask(operation, projectId, reason)
    const end = await endOf({ operation, outcome, freed: releasedBytes, reason, begun, ear })
    if (end === 'unconfirmed') throw new Error(text.operations.unconfirmed)
    return end === 'late' ? undefined : end
  } finally {
    ear.close()
  }
}

/** The same, and tells what it came to. */
export async function stop(operation: Operation, name: string, projectId: string, reason?: string): Promise<void> {
  const stopped = await cancel(operation, projectId, reason)
  if (stopped === undefined) notify(text.operations.late(name))
  else notify(text.operations.told(name, stopped.inMs, stopped.freed))
}

interface Answer {
  operation: Operation
  outcome: Cancelled['outcome']
  /** If it was cancelled at once. */
  freed: number
  reason: string | undefined
  begun: number
  ear: Ear
}

/** Only what still goes on has to be waited for: the feed may be away. */
async function endOf({ operation, outcome, freed, reason, begun, ear }: Answer): Promise<End> {
  if (outcome !== 'cancelled' && outcome !== 'cancelling') {
    ours.delete(operation.id)
    return 'late'
  }
  accepted(operation, outcome, reason)
  const all = outcome === 'cancelled' ? freed : await ear.freed(keyOf(operation))
  if (all === undefined) return 'unconfirmed'
  const inMs = performance.now() - begun
  stopped(operation, all, inMs)
  return { freed: all, inMs }
}

/** As many as one call can cancel. */
const OURS_MAX = 10_000

/** What was cancelled in this page, and so not by somebody else; the oldest first. */
const ours = new Set<string>()

export function isOurs(id: string): boolean {
  return ours.has(id)
}

/** Calls the server. What it has refused may still be cancelled by somebody else. */
async function claim<T>(ids: string[], call: () => Promise<T>): Promise<T> {
  for (const id of ids) {
    ours.add(id)
    const [oldest] = ours
    if (ours.size > OURS_MAX && oldest !== undefined) ours.delete(oldest)
  }
  try {
    return await call()
  } catch (error) {
    if (error instanceof TidegateError) for (const id of ids) ours.delete(id)
    throw error
  }
}

function ask({ kind, id }: Operation, projectId: string, reason?: string): Promise<Cancelled> {
  return claim([id], () => {
    if (kind === 'upload') return client.cancelUpload(id, reason)
    if (kind === 'queue') return client.cancelItem(id, reason)
    return client.cancelExport(projectId, id, reason)
  })
}

/** What a cancel of several came to. */
export interface StoppedAll extends Stopped {
  count: number
  unconfirmed: number
  /** Why those were not that could not be cancelled. */
  refused: unknown[]
}

/** Cancels several at once: the uploads in one call, everything else one by one. */
export async function cancelAll(chosen: Operation[], projectId: string, reason?: string): Promise<StoppedAll> {
  const begun = performance.now()
  const ear = new Ear()
  const about = { reason, begun, ear }
  const limit = new Limit(AT_ONCE)
  const uploads = chosen.filter(({ kind }) => kind === 'upload')
  const answered = outcomesOf(uploads, projectId, reason)
  const results = await Promise.allSettled(
    chosen.map(async (operation) => {
      if (operation.kind === 'upload') {
        // This answer does not say how much was freed, and the feed may not have said it yet.
        const { received = 0 } = operation
        const outcome = told(await answered, operation)
        return endOf({ ...about, operation, outcome, freed: operation.freed ?? received })
      }
      const call = () => patiently(() => ask(operation, projectId, reason))
      const { outcome, releasedBytes } = await limit.run(call)
      return endOf({ ...about, operation, outcome, freed: releasedBytes })
    }),
  )
  ear.close()
  const ends = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const ended = ends.filter((end) => typeof end === 'object')
  return {
    count: ended.length,
    freed: ended.reduce((sum, { freed }) => sum + freed, 0),
    inMs: performance.now() - begun,
    unconfirmed: ends.filter((end) => end === 'unconfirmed').length,
    refused: results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : [])),
  }
}

type Outcome = BulkCancelled['results'][number]['outcome']

async function outcomesOf(uploads: Operation[], projectId: string, reason?: string): Promise<Map<string, Outcome>> {
  if (uploads.length === 0) return new Map()
  const ids = uploads.map(({ id }) => id)
  const { results } = await claim(ids, () => patiently(() => client.cancelUploads(projectId, ids, reason)))
  return new Map(results.map(({ id, outcome }) => [id, outcome]))
}

/** Throws if the server has not cancelled this one, though it has others. */
function told(outcomes: Map<string, Outcome>, { id }: Operation): Cancelled['outcome'] {
  const outcome = outcomes.get(id) ?? 'not_found'
  if (outcome !== 'not_found' && outcome !== 'forbidden') return outcome
  ours.delete(id)
  throw new Error(text.operations.refused[outcome])
}
