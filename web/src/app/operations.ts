// Everything that runs in the open project: made of the lists as they are at the start, and of the events from then on.

import { computed, signal } from '@preact/signals'
import { type List, type Page, TidegateError } from '@tidegate/client'

import { listen } from './feed.js'
import { apply, isActive, keyOf, type Operation, ofEvent, ofExport, ofItem, ofUpload, wordsOf } from './operation.js'
import { client } from './session.js'
import { soon } from './soon.js'

/** Lists are read so far at the start; what comes behind that is counted. */
const READ_MAX = 1000
/** Ended ones are kept so far. */
const ENDED_MAX = 500

const known = new Map<string, Operation>()
const version = signal(0)

/** All of them, the newest last. */
export const operations = computed<readonly Operation[]>(() => {
  version.value
  return [...known.values()]
})

/** Active ones that were there before the page and are too many to be listed. */
export const unlisted = signal(0)

/** Shows what was changed in them. */
export const changed = soon(() => {
  forgetOld()
  version.value += 1
})

function forgetOld(): void {
  const ended = [...known].filter(([, operation]) => !isActive(operation))
  for (const [key] of ended.slice(0, Math.max(0, ended.length - ENDED_MAX))) known.delete(key)
}

export function find(key: string): Operation | undefined {
  return known.get(key)
}

/** The answer to a cancel: the feed says the same, but may be away. */
export function accepted(operation: Operation, state: 'cancelled' | 'cancelling', reason: string | undefined): void {
  const one = find(keyOf(operation)) ?? operation
  if (!isActive(one)) return
  one.state = state
  one.reason ??= reason
  if (state === 'cancelled') one.endedAt = performance.now()
  changed()
}

/** Nothing of it is left, so long after it was asked for. */
export function stopped(operation: Operation, freed: number, inMs: number): void {
  const one = find(keyOf(operation)) ?? operation
  one.stoppedInMs = inMs
  one.freed ??= freed
  changed()
}

listen(({ type, subject, data }) => {
  const words = wordsOf(type)
  if (words === undefined) return
  const [kind, verb] = words
  changed()
  if (verb === 'deleted') {
    known.delete(subject)
    return
  }
  const operation = known.get(subject) ?? ofEvent(kind, data)
  apply(operation, verb, data)
  // What has ended goes to the end, and the oldest of those are forgotten first.
  if (!isActive(operation)) known.delete(subject)
  known.set(subject, operation)
})

/** Reads what runs in a project now. What the feed has told meanwhile is newer, and stays. */
export async function loadOperations(projectId: string, signal: AbortSignal): Promise<void> {
  known.clear()
  unlisted.value = 0
  changed()
  const told = new Set<string>()
  const stop = listen(({ subject }) => told.add(subject))
  const put = (operation: Operation) => {
    const key = keyOf(operation)
    if (!signal.aborted && !told.has(key) && isActive(operation)) known.set(key, operation)
  }
  try {
    await Promise.all([
      pages((list) => client.uploads(projectId, { ...list, state: 'uploading' }), signal, ofUpload, put),
      pages((list) => client.uploads(projectId, { ...list, state: 'cancelling' }), signal, ofUpload, put),
      // A server may be without these.
      ifAny(pages((list) => client.items(projectId, { ...list, state: ITEMS }), signal, ofItem, put)),
      ifAny(readExports(projectId, signal, put)),
    ])
  } finally {
    stop()
    changed()
  }
}

const ITEMS = 'queued,processing,cancelling'

type Put = (operation: Operation) => void

/** Reads a list, its newest last. */
async function pages<T>(
  read: (list: List) => Promise<Page<T>>,
  signal: AbortSignal,
  make: (one: T) => Operation,
  put: Put,
): Promise<void> {
  for (let page = 1; ; page += 1) {
    const { data, pagination } = await read({ page, limit: 100, signal })
    for (const one of data.reverse()) put(make(one))
    if (page >= pagination.totalPages) return
    if (page * 100 >= READ_MAX) {
      unlisted.value += pagination.total - READ_MAX
      return
    }
  }
}

/** A user has one export of a project at a time, so the active ones are on the first page. */
async function readExports(projectId: string, signal: AbortSignal, put: Put): Promise<void> {
  const { data } = await client.exports(projectId, { limit: 100, signal })
  for (const one of data.reverse()) put(ofExport(one))
}

async function ifAny(reading: Promise<void>): Promise<void> {
  try {
    await reading
  } catch (error) {
    if (!(error instanceof TidegateError && error.status === 404)) throw error
  }
}
