// Everything that runs in the open project: made of the lists as they are at the start, and of the events from then on.

import { computed, signal } from '@preact/signals'
import { type List, type Page, TidegateError } from '@tidegate/client'

import { listen } from './feed.js'
import { complain } from './notices.js'
import { apply, isActive, keyOf, type Operation, ofEvent, ofExport, ofItem, ofUpload, wordsOf } from './operation.js'
import { pause } from './patience.js'
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

function find(key: string): Operation | undefined {
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

/** How much is known of what ran before the page began to listen. */
export const reading = signal<'reading' | 'unread' | 'read'>('reading')

/** Without a word of the server's, it is asked again in so many milliseconds. */
const AGAIN_MS = 5000

let askNow = () => {}

/** Does not wait any longer before the lists are read again. */
export function readAgain(): void {
  askNow()
}

/** Reads what runs in a project, and tries until it has done so. What the feed has told meanwhile is newer, and stays. */
export async function loadOperations(projectId: string, signal: AbortSignal): Promise<void> {
  known.clear()
  unlisted.value = 0
  changed()
  reading.value = 'reading'
  while (!signal.aborted) {
    try {
      await readLists(projectId, signal)
      if (!signal.aborted) reading.value = 'read'
      return
    } catch (error) {
      if (signal.aborted) return
      // Told once; until it is read, the table says so.
      if (reading.peek() === 'reading') complain(error)
      reading.value = 'unread'
      const waiting = new AbortController()
      askNow = () => waiting.abort()
      const wait = error instanceof TidegateError ? error.retryAfter : undefined
      await pause(wait ?? AGAIN_MS, AbortSignal.any([signal, waiting.signal]))
    }
  }
}

async function readLists(projectId: string, signal: AbortSignal): Promise<void> {
  const told = new Set<string>()
  const stop = listen(({ subject }) => told.add(subject))
  const uploads = (state: 'uploading' | 'cancelling') =>
    pages((list) => client.uploads(projectId, { ...list, state }), signal, ofUpload)
  try {
    const lists = await Promise.allSettled([
      uploads('uploading'),
      uploads('cancelling'),
      // A server may be without these.
      ifAny(pages((list) => client.items(projectId, { ...list, state: ITEMS }), signal, ofItem)),
      ifAny(readExports(projectId, signal)),
    ])
    if (signal.aborted) return
    const read = lists.flatMap((list) => (list.status === 'fulfilled' ? [list.value] : []))
    put(read.flatMap(({ listed }) => listed).filter(({ operation }) => !told.has(keyOf(operation))))
    unlisted.value = read.reduce((sum, { left }) => sum + left, 0)
    for (const list of lists) if (list.status === 'rejected') throw list.reason
  } finally {
    stop()
    changed()
  }
}

/** Those of the lists are older than what the feed has told of. */
function put(listed: Listed[]): void {
  const newer = [...known]
  known.clear()
  // Each list has its newest first.
  listed.reverse().sort((one, other) => Date.parse(one.createdAt) - Date.parse(other.createdAt))
  for (const { operation } of listed) if (isActive(operation)) known.set(keyOf(operation), operation)
  for (const [key, operation] of newer) if (!known.has(key)) known.set(key, operation)
}

const ITEMS = 'queued,processing,cancelling'

interface Listed {
  operation: Operation
  createdAt: string
}

interface Lists {
  listed: Listed[]
  /** How many there are beyond these. */
  left: number
}

/** Reads a list, as far as it is shown. */
async function pages<T extends { createdAt: string }>(
  read: (list: List) => Promise<Page<T>>,
  signal: AbortSignal,
  make: (one: T) => Operation,
): Promise<Lists> {
  const listed: Listed[] = []
  for (let page = 1; ; page += 1) {
    const { data, pagination } = await read({ page, limit: 100, signal })
    for (const one of data) listed.push({ operation: make(one), createdAt: one.createdAt })
    if (page >= pagination.totalPages) return { listed, left: 0 }
    if (page * 100 >= READ_MAX) return { listed, left: pagination.total - READ_MAX }
  }
}

/** A user has one export of a project at a time, so the active ones are on the first page. */
async function readExports(projectId: string, signal: AbortSignal): Promise<Lists> {
  const { data } = await client.exports(projectId, { limit: 100, signal })
  return { listed: data.map((one) => ({ operation: ofExport(one), createdAt: one.createdAt })), left: 0 }
}

async function ifAny(reading: Promise<Lists>): Promise<Lists> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof TidegateError && error.status === 404) return { listed: [], left: 0 }
    throw error
  }
}
