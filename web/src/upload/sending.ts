// The uploads of this page, by Uppy: what it sends, and what the page shows of it.

import { computed, signal } from '@preact/signals'
import { TidegateUploads, type TidegateUploadsOptions } from '@tidegate/client/uppy'
import Uppy, { type Body, type Meta, type UppyFile } from '@uppy/core'
import GoldenRetriever from '@uppy/golden-retriever'
import { isOurs } from '../app/cancel.js'
import { listen } from '../app/feed.js'
import { Meter } from '../app/meter.js'
import { notify } from '../app/notices.js'
import { client, expire, onUserChange, signedIn, signOut, userOfToken } from '../app/session.js'
import { soon } from '../app/soon.js'
import { text } from '../text.js'
import { gather } from './gather.js'
import { goOnAfterReload } from './restoring.js'
import { takeSlot } from './slot.js'

export type Sent = UppyFile<Meta, Body>

const MIB = 1024 * 1024

/** Copies of files up to this are kept by the browser until they are sent, so that a reload goes on without asking. */
const KEPT = { name: 'uppy-blobs', maxFileSize: 1024 * MIB, maxTotalSize: 4096 * MIB }

/** Over HTTP/1.1 a browser has six connections to a server, for everything that all of its tabs do. */
const AT_ONCE_HTTP1 = 3
const AT_ONCE_HTTP2 = 6

const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[]
const LIMIT = navigation?.nextHopProtocol === 'h2' ? AT_ONCE_HTTP2 : AT_ONCE_HTTP1

export type Standing = 'waiting' | 'sending' | 'paused' | 'done' | 'failed' | 'missing'

/** A file that was cancelled where it was not sent: it is not Uppy's any more, so nothing can send it again. */
export interface Lost {
  id: string
  name: string
  size: number | null
  reason: string | undefined
  /** By somebody else, or in the table of what runs. */
  isElsewhere: boolean
}

const tellAgain = gather<string>((names) => notify(text.upload.again(names)))

/** More files than this the browser does not keep: it would be busy with nothing else. */
const KEPT_MAX = 500

/** So many are added at a time: with each one Uppy copies its list of all files, and the page is to answer meanwhile. */
const ADDED_AT_ONCE = 100

class Sender extends Uppy<Meta, Body> {
  readonly #adding = new Set<ReturnType<typeof setTimeout>>()

  override addFiles(added: Parameters<Uppy<Meta, Body>['addFiles']>[0]): void {
    if (this.getFiles().length + added.length > KEPT_MAX) keepNoLonger()
    super.addFiles(added.slice(0, ADDED_AT_ONCE))
    if (added.length <= ADDED_AT_ONCE) return
    const timer = setTimeout(() => {
      this.#adding.delete(timer)
      this.addFiles(added.slice(ADDED_AT_ONCE))
    })
    this.#adding.add(timer)
  }

  /** What is not added yet is not wanted any more. */
  addNoMore(): void {
    for (const timer of this.#adding) clearTimeout(timer)
    this.#adding.clear()
  }
}

export const uppy = new Sender({
  id: 'tidegate',
  autoProceed: true,
  // A file that is uploaded can be chosen again; one that is on its way, not.
  onBeforeFileAdded: (file, files) => {
    const before = files[file.id]
    if (before === undefined || before.isGhost) return true
    if (isDone(before)) tellAgain(nameIn(file))
    return isDone(before)
  },
})

export const files = signal<Sent[]>([])
export const lost = signal<Lost[]>([])
const meters = new Map<string, Meter>()

export const unfinished = computed(() => files.value.filter((file) => !isDone(file)).length)
export const finished = computed(() => files.value.filter(isDone).length + lost.value.length)

function nameIn(file: { name?: string } | undefined): string {
  return file?.name ?? text.operations.unnamed.upload
}

function isDone(file: Pick<Sent, 'progress'>): boolean {
  return file.progress.uploadComplete === true
}

export function standing(file: Sent): Standing {
  if (isDone(file)) return 'done'
  if (file.isGhost) return 'missing'
  if (file.error) return 'failed'
  if ('isPaused' in file && file.isPaused) return 'paused'
  return meters.get(file.id)?.rate === undefined ? 'waiting' : 'sending'
}

/** How fast a file is sent, if it is. */
export function meterOf(file: Sent): Meter | undefined {
  return standing(file) === 'sending' ? meters.get(file.id) : undefined
}

/** Whether files can be chosen. */
export const isReady = signal(false)

/** Whose files the browser keeps, and where. */
let keptAs: string | undefined

/** Whether what is on its way goes on after a reload. */
export const isKept = signal(true)

/** Until the page is reloaded. */
function keepNoLonger(): void {
  unplug('GoldenRetriever')
  isKept.value = false
}

export function unplug(name: 'Dashboard' | 'GoldenRetriever'): void {
  const plugin = uppy.getPlugin(name)
  if (plugin !== undefined) uppy.removePlugin(plugin)
}

/** New files go into this project from now on. */
export async function sendTo(projectId: string): Promise<void> {
  const plugin = uppy.getPlugin('TidegateUploads')
  if (plugin === undefined) start(projectId)
  else plugin.setOptions({ projectId } as Partial<TidegateUploadsOptions>)
  await keep()
  isReady.value = true
}

function start(projectId: string): void {
  uppy.use(TidegateUploads, { client, projectId, limit: LIMIT, subscribe: false, ready: signedIn })
  listen((event) => uppy.getPlugin('TidegateUploads')?.handle(event))
}

/** Golden Retriever keeps files under the id of its Uppy. Nobody is to go on with those of another user. */
async function keep(): Promise<void> {
  const id = ['tidegate', userOfToken(), await takeSlot(LIMIT)].filter(Boolean).join('-')
  if (id === keptAs) return
  keptAs = id
  unplug('GoldenRetriever')
  uppy.setOptions({ id })
  uppy.use(GoldenRetriever, { indexedDB: KEPT })
}

/** Ends what is on its way, here and on the server, and signs out. */
export function leave(): void {
  uppy.addNoMore()
  uppy.removeFiles(uppy.getFiles().map(({ id }) => id))
  lost.value = []
  signOut()
}

// What the last user sent is not to go on in the name of another one. The browser keeps it for him.
onUserChange(() => {
  isReady.value = false
  keptAs = undefined
  uppy.addNoMore()
  unplug('GoldenRetriever')
  isKept.value = true
  uppy.getPlugin('TidegateUploads')?.abandon()
  files.value = uppy.getFiles()
  lost.value = []
})

uppy.on('tidegate:unauthorized', expire)

/** Uppy's own would begin with what is sent already as well, and take their errors from files that have failed. */
export function resumePaused(): void {
  const paused = uppy.getFiles().filter((file) => standing(file) === 'paused')
  uppy.patchFilesState(Object.fromEntries(paused.map(({ id }) => [id, { isPaused: false }])))
  for (const file of paused) uppy.emit('upload-pause', file, false)
}

/** Sends again what was refused while nobody was signed in. */
export function goOn(): void {
  if (uppy.getFiles().some(({ error }) => error)) uppy.retryAll()
}

uppy.on(
  'state-update',
  soon(() => {
    files.value = uppy.getFiles()
  }),
)

uppy.on('upload-progress', (file, { bytesUploaded }) => {
  if (file === undefined || typeof bytesUploaded !== 'number') return
  const meter = meters.get(file.id) ?? new Meter(bytesUploaded)
  meters.set(file.id, meter)
  meter.reach(bytesUploaded)
})

for (const over of ['upload-success', 'upload-error', 'file-removed'] as const) {
  uppy.on(over, (file?: { id: string }) => {
    if (file !== undefined) meters.delete(file.id)
  })
}

uppy.on('upload-pause', (file, isPaused) => {
  if (isPaused && file !== undefined) meters.delete(file.id)
})

uppy.on('tidegate:cancelled', (file, { id, reason }) => {
  const name = nameIn(file)
  const isElsewhere = !isOurs(id)
  lost.value = [...lost.peek(), { id: file.id, name, size: file.size, reason, isElsewhere }]
  if (isElsewhere) notify(text.upload.tellCancelled(name, reason), 'bad')
})

const tellFailed = gather<{ name: string; reason: string }>((all) => {
  const names = all.map(({ name }) => name)
  const [reason, ...others] = new Set(all.map((one) => one.reason))
  notify(text.upload.failed(names, reason ?? '', others.length), 'bad')
})

uppy.on('upload-error', (file, { message }) => tellFailed({ name: nameIn(file), reason: message }))

/** What Uppy says of each file that has failed is told above, with the reason. */
const FAILED = uppy.i18n('failedToUpload', { file: '' })

uppy.on('info-visible', () => {
  const info = uppy.getState().info?.at(-1)
  if (info?.type === 'error' && !info.message.startsWith(FAILED)) notify(info.message, 'bad')
})

goOnAfterReload(uppy)

/** Forgets what is uploaded or was cancelled by somebody else. */
export function clearFinished(): void {
  lost.value = []
  uppy.removeFiles(
    uppy
      .getFiles()
      .filter(isDone)
      .map(({ id }) => id),
  )
}

export function forget(id: string): void {
  lost.value = lost.peek().filter((one) => one.id !== id)
}
