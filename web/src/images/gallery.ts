// The images of the open project, the newest first: those that are shown, and what becomes of them.

import { computed, type Signal, signal } from '@preact/signals'
import {
  type List,
  type Page,
  type SegmentationStatus,
  TidegateError,
  type TidegateEvent,
  type Upload,
} from '@tidegate/client'

import { listen } from '../app/feed.js'
import { amongTwins, inWords, type Name, twins } from '../app/names.js'
import { path } from '../app/projects.js'
import { client } from '../app/session.js'
import { soon } from '../app/soon.js'
import type { ProjectImage } from './types.js'

/** So many are shown at first, and more at a time. */
export const PAGE = 24

const PAGE_MAX = 100

/** Uploads that complete one after the other are read together. */
const GATHERED_MS = 400

/** The item of an image that waits or is processed. */
export interface ActiveItem {
  id: string
  /** 0 to 100. */
  progress: number | undefined
}

/** An image that is shown. It stays the same as long as the image does, so that only what changes is drawn anew. */
export interface Entry {
  readonly id: string
  readonly image: Signal<ProjectImage>
  readonly item: Signal<ActiveItem | undefined>
  readonly selected: Signal<boolean>
  /** What the user has asked for and is not answered yet. */
  readonly asked: Signal<'segment' | 'stop' | undefined>
  /** Counts the results that have come while it is shown. */
  readonly results: Signal<number>
  /** Why the last segmentation has failed, if it has and that is known. */
  readonly failure: Signal<string | undefined>
  /** The item that was told to have ended last: an answer about it that comes later is old. */
  ended: string | undefined
  isDeleted: boolean
}

/** `undefined` until they are known. */
export const entries = signal<readonly Entry[] | undefined>(undefined)

/** How many there are, shown or not. */
export const total = signal(0)

/** Counts how often they have to be read anew since there are others. */
export const stale = signal(0)

const outdated = soon(() => {
  stale.value += 1
}, GATHERED_MS)

const known = new Map<string, Entry>()
let shownProject: string | undefined
let arrived = 0
let isWithoutQueue = false

/** Names of more than one of those that are shown. An image keeps its name. */
const twice = computed(() => twins((entries.value ?? []).map(({ image }) => image.peek().filename ?? undefined)))

/** What it is called among those that are shown. */
export function calledOf({ filename, id }: ProjectImage): Name {
  if (filename === null) return { name: id }
  return twice.value.has(filename) ? amongTwins(id, filename) : { name: filename }
}

export function nameOf(image: ProjectImage): string {
  return inWords(calledOf(image))
}

export function isActive(status: SegmentationStatus): boolean {
  return status === 'queued' || status === 'processing'
}

/** Reads as many as are shown, and those that have come since. */
export async function loadImages(projectId: string, signal: AbortSignal): Promise<void> {
  if (projectId !== shownProject) {
    shownProject = projectId
    known.clear()
    entries.value = undefined
    arrived = 0
  }
  const wanted = Math.max(PAGE, (entries.peek()?.length ?? 0) + arrived)
  // What is told while the list is on its way may be newer than the list.
  const told: TidegateEvent[] = []
  const stop = listen((event) => told.push(event))
  try {
    const found = await read(projectId, 1, wanted, wanted > PAGE ? PAGE_MAX : PAGE, signal)
    if (signal.aborted) return
    arrived = 0
    put(found.slice(0, wanted))
    await readFailures(projectId)
  } finally {
    stop()
  }
  for (const event of told) tell(event)
}

/** Shows the next ones. */
export async function showMore(projectId: string): Promise<void> {
  const shown = entries.peek() ?? []
  // Since some may have come or gone, the page may have some that are shown already.
  const page = Math.floor(shown.length / PAGE) + 1
  const found = await read(projectId, page, PAGE, PAGE, undefined, known)
  if (projectId !== shownProject) return
  const more = found
    .filter(({ id }) => !known.has(id))
    .slice(0, PAGE)
    .map(begin)
  entries.value = [...(entries.peek() ?? []), ...more]
  await readFailures(projectId)
}

/** The list of images does not say why. Of those that failed long ago it is not told. */
async function readFailures(projectId: string): Promise<void> {
  const failed = [...known.values()].filter(
    ({ image, failure }) => image.peek().segmentationStatus === 'failed' && failure.peek() === undefined,
  )
  if (failed.length === 0) return
  const { data } = await client.items(projectId, { state: 'failed', limit: PAGE_MAX })
  for (const { id, failure } of failed) failure.value ??= data.find(({ imageId }) => imageId === id)?.error ?? undefined
}

/** Pages of a list, until there are so many that are not among `others`. */
async function read(
  projectId: string,
  first: number,
  wanted: number,
  limit: number,
  signal?: AbortSignal,
  others?: ReadonlyMap<string, unknown>,
): Promise<ProjectImage[]> {
  const found: ProjectImage[] = []
  for (let page = first; ; page += 1) {
    const query = { page, limit, ...(signal && { signal }) }
    const { data, pagination } = await list(projectId, query)
    found.push(...data.filter(({ id }) => !others?.has(id)))
    total.value = pagination.total
    if (page >= pagination.totalPages || found.length >= wanted) return found
  }
}

/** A server without a queue does not list images, but they are uploads all the same. */
async function list(projectId: string, query: List): Promise<Page<ProjectImage>> {
  try {
    if (!isWithoutQueue) return await client.list(path('projects', projectId, 'images'), query)
  } catch (error) {
    const isAbsent = error instanceof TidegateError && error.status === 405
    if (!isAbsent) throw error
    isWithoutQueue = true
  }
  const { data, pagination } = await client.uploads(projectId, { ...query, state: 'completed' })
  return { data: data.map(ofUpload), pagination }
}

function ofUpload(upload: Upload): ProjectImage {
  return { ...upload, size: upload.length ?? upload.offset, segmentationStatus: 'no_segmentation' }
}

/** Takes these in the place of what was shown. */
function put(found: ProjectImage[]): void {
  const next = found.map((image) => {
    const entry = known.get(image.id)
    if (entry === undefined) return begin(image)
    entry.image.value = image
    if (!isActive(image.segmentationStatus)) entry.item.value = undefined
    return entry
  })
  known.clear()
  for (const entry of next) known.set(entry.id, entry)
  entries.value = next
}

function begin(image: ProjectImage): Entry {
  const entry: Entry = {
    id: image.id,
    image: signal(image),
    item: signal(undefined),
    selected: signal(false),
    asked: signal(undefined),
    results: signal(0),
    failure: signal(undefined),
    ended: undefined,
    isDeleted: false,
  }
  known.set(entry.id, entry)
  return entry
}

/** Something has happened in the project. */
export function tell({ type, data }: TidegateEvent): void {
  if (data.projectId !== shownProject) return
  if (type === 'upload.completed') {
    arrived += known.has(data.id) ? 0 : 1
    outdated()
  } else if (type === 'upload.deleted') {
    const entry = known.get(data.id)
    if (entry) entry.isDeleted = true
    if (known.delete(data.id)) entries.value = entries.peek()?.filter(({ id }) => id !== data.id)
    total.value = Math.max(total.peek() - 1, entries.peek()?.length ?? 0)
  } else if (type.startsWith('queue.item.')) {
    const entry = known.get(String(data.imageId))
    if (entry) tellItem(entry, type, data)
  }
}

function tellItem(entry: Entry, type: string, data: TidegateEvent['data']): void {
  const { id, state, imageStatus, progress } = data
  if (typeof imageStatus === 'string') setStatus(entry, imageStatus as SegmentationStatus)
  const item = entry.item.peek()
  if (state === 'queued' || state === 'processing') {
    entry.item.value = { id, progress: typeof progress === 'number' ? progress : undefined }
  } else {
    entry.ended = id
    if (item?.id === id) entry.item.value = undefined
  }
  if (type === 'queue.item.completed') entry.results.value += 1
  entry.failure.value = type === 'queue.item.failed' && typeof data.error === 'string' ? data.error : undefined
}

export function setStatus(entry: Entry, segmentationStatus: SegmentationStatus): void {
  const image = entry.image.peek()
  if (image.segmentationStatus !== segmentationStatus) entry.image.value = { ...image, segmentationStatus }
}

/** Asks how an image is, where no event may tell it. */
export async function refresh(entry: Entry): Promise<void> {
  entry.image.value = await client.call<ProjectImage>('GET', path('images', entry.id))
}
