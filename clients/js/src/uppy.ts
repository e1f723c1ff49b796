import type { Body, Meta, PluginOpts, Uppy, UppyFile } from '@uppy/core'
import Tus, { type TusDetailedError } from '@uppy/tus'
import type { Tidegate } from './client.js'
import type { Subscription } from './feed.js'
import { takePlace } from './places.js'
import { parseProblem, parseRetryAfter, TidegateError } from './problem.js'
import type { Problem, TidegateEvent } from './types.js'
import { randomUuid } from './uuid.js'

type HttpRequest = TusDetailedError['originalRequest']
type HttpResponse = NonNullable<TusDetailedError['originalResponse']>

export interface TidegateUploadsOptions extends PluginOpts {
  client: Tidegate
  /** Where files go that are added from now on; one that was added before goes where it was to go. */
  projectId: string
  /**
   * Files at once, and requests of all pages of the origin together; 3 if left out, since a browser has six connections
   * to an HTTP/1.1 server, for feeds as well.
   */
  limit?: number
  /** Bytes of one request; 8 MiB if left out. The server discards up to 16 MiB to get a refusal through. */
  chunkSize?: number
  /** Said to the server, and so to others, when the user cancels a file here. */
  reason?: string
  /**
   * Whether the plugin follows the projects of its unfinished files by itself, as it does if this is left out. An app
   * that has a feed of its own gives its events to {@link TidegateUploads.handle} instead.
   */
  subscribe?: boolean
  /** Each request of an upload waits for what this gives, such as for somebody to sign in. */
  ready?: () => Promise<unknown> | undefined
}

/** That a file was cancelled by somebody else. */
export interface CancelledElsewhere {
  /** The upload's. */
  id: string
  reason: string | undefined
  /** RFC 3339. */
  cancelledAt: string | undefined
  /** How it became known first: an event, or the answer to a request for the file. */
  by: 'feed' | 'answer'
}

/** What the plugin keeps in the state of a file, where Golden Retriever saves it. */
export interface UploadName {
  /** Of the upload, chosen before it is created: so it is created once, however often that is tried. */
  id: string
  projectId: string
}

declare module '@uppy/core/utils' {
  interface LocalUppyFile<M extends Meta, B extends Body> {
    tidegate?: UploadName
  }
  interface RemoteUppyFile<M extends Meta, B extends Body> {
    tidegate?: UploadName
  }
}

declare module '@uppy/core' {
  interface PluginTypeRegistry<M extends Meta, B extends Body> {
    TidegateUploads: TidegateUploads<M, B>
  }
  interface UppyEventMap<M extends Meta, B extends Body> {
    /** Somebody else has cancelled the file: it has left Uppy, and cannot be retried. Comes once for each. */
    'tidegate:cancelled': (file: UppyFile<M, B>, cancelled: CancelledElsewhere) => void
    /** The server refuses the login of a request, and there is no newer one. */
    'tidegate:unauthorized': () => void
    /** Golden Retriever's. */
    'restore:plugin-data-changed': (data: Record<string, unknown>) => void
  }
}

const MIB = 1024 * 1024

/** Milliseconds; some twenty minutes in all. They begin anew whenever bytes have arrived. */
const RETRY_DELAYS = [250, 500, 1000, 2000, 4000, 8000, 15_000, ...Array<number>(40).fill(30_000)]
const LONGEST_RETRY_AFTER = 300_000
const CANCEL_DELAYS = [500, 1000, 2000, 4000, 8000, 16_000]
/** How often a refused login is tried again: the app may be renewing it. */
const LOGIN_ATTEMPTS = 4

/** After these there is nothing to go on with: the file needs another name. */
const OVER = ['UPLOAD_EXPIRED', 'UPLOAD_FAILED', 'ID_TAKEN']

const NEVER = new Promise<never>(() => {})

const LOCALE = {
  strings: {
    cancelledElsewhere: '%{file} was cancelled',
    changed: 'The file has changed on the disk. Choose it again.',
    unreachable: 'The server cannot be reached',
  },
}

/**
 * Uploads files to a Tidegate server, and takes a cancel for what it is, whoever it comes from. It is `@uppy/tus`, set
 * up and watched; do not install that one beside it.
 *
 * - A file that somebody else has cancelled leaves Uppy, with a warning and the event `tidegate:cancelled`.
 * - One that the user removes is cancelled on the server, even if its creation was not answered yet.
 * - One that has expired or failed there is uploaded anew when the user retries it.
 * - Lost connections, a server that restarts and one that asks for patience are waited for.
 */
export class TidegateUploads<M extends Meta, B extends Body> extends Tus<M, B> {
  declare opts: Tus<M, B>['opts'] & TidegateUploadsOptions
  /** The upload that a request is for. */
  readonly #requests = new WeakMap<HttpRequest, string>()
  readonly #problems = new WeakMap<HttpResponse, Problem>()
  /** Uploads that the server has been asked to create. */
  readonly #created = new Set<string>()
  /** Uploads that stay as they are when their files go, such as those that the server knows to be cancelled. */
  readonly #left = new Set<string>()
  /** Cancels that the server has not answered, and the login of who wants them. */
  #pending = new Map<string, Record<string, string>>()
  /** What goes on at once when the network is back. */
  readonly #wakers = new Set<() => void>()
  /** Files that wait for their next attempt. */
  readonly #waiting = new Set<string>()
  readonly #feeds = new Map<string, Subscription>()

  constructor(uppy: Uppy<M, B>, options: TidegateUploadsOptions) {
    super(uppy, {
      limit: 3,
      chunkSize: 8 * MIB,
      ...options,
      id: options.id ?? 'TidegateUploads',
      retryDelays: RETRY_DELAYS,
      // Golden Retriever keeps the URL. Without it a file that is chosen again is meant to be uploaded again.
      storeFingerprintForResuming: false,
    })
    this.opts.onBeforeRequest = (request, file) => this.#prepare(request, file)
    this.opts.onAfterResponse = (request, response) => this.#judge(request, response)
    this.opts.onShouldRetry = (error, attempt, _, next) => this.#shouldRetry(error, attempt, next)
    this.opts.onError = (error) => this.#explain(error)
    this.defaultLocale = LOCALE
    this.i18nInit()
  }

  override install(): void {
    super.install()
    this.uppy.on('files-added', this.#nameAll)
    this.uppy.on('restored', this.#restore)
    this.uppy.on('upload-start', this.#follow)
    this.uppy.on('upload-success', this.#follow)
    this.uppy.on('file-removed', this.#forget)
    this.uppy.on('cancel-all', this.#stopAll)
    this.uppy.on('resume-all', this.#pauseAll)
    this.uppy.on('is-online', this.#hurry)
  }

  override uninstall(): void {
    super.uninstall()
    this.uppy.off('files-added', this.#nameAll)
    this.uppy.off('restored', this.#restore)
    this.uppy.off('upload-start', this.#follow)
    this.uppy.off('upload-success', this.#follow)
    this.uppy.off('file-removed', this.#forget)
    this.uppy.off('cancel-all', this.#stopAll)
    this.uppy.off('resume-all', this.#pauseAll)
    this.uppy.off('is-online', this.#hurry)
    for (const feed of this.#feeds.values()) feed.close()
  }

  /** `limit` stays as it was. */
  override setOptions(options: Partial<TidegateUploadsOptions>): void {
    super.setOptions(options)
    this.#follow()
  }

  /** Takes note of an event, from a feed of any kind. Those that are about something else are passed over. */
  handle = (event: TidegateEvent): void => {
    if (event.type !== 'upload.cancelling' && event.type !== 'upload.cancelled') return
    const { id, reason } = event.data
    this.#cancelledElsewhere({ id, reason: reason as string | undefined, cancelledAt: event.time, by: 'feed' })
  }

  /** Takes all files out of Uppy, and leaves their uploads as they are: somebody else uses the page from now on. */
  abandon(): void {
    this.#pending = new Map()
    const files = this.uppy.getFiles()
    for (const { tidegate } of files) if (tidegate) this.#left.add(tidegate.id)
    this.uppy.removeFiles(files.map(({ id }) => id))
  }

  /** Names the uploads of files, and fixes where they go: all at once, as each change copies the list of all files. */
  #nameAll = (files: UppyFile<M, B>[]): void => {
    this.uppy.patchFilesState(Object.fromEntries(files.flatMap((file) => this.#named(file))))
  }

  #named(file: UppyFile<M, B>): [string, Partial<UppyFile<M, B>>][] {
    if (file.isRemote || (file.tidegate && file.tus)) return []
    const { client } = this.opts
    const projectId = file.tidegate?.projectId ?? this.opts.projectId
    const endpoint = client.url(`/api/projects/${encodeURIComponent(projectId)}/uploads`).href
    // What is not there would be sent as the text `null`.
    const meta = Object.fromEntries(Object.entries(file.meta).filter(([, value]) => value != null)) as typeof file.meta
    return [[file.id, { meta, tidegate: { id: randomUuid(), projectId }, tus: { endpoint } }]]
  }

  #rename(file: UppyFile<M, B>): void {
    this.#nameAll([{ ...file, tus: undefined }])
  }

  #restore = (kept: unknown): void => {
    this.#nameAll(this.uppy.getFiles())
    this.#follow()
    const { cancels = [] } = (kept as Record<string, { cancels?: string[] } | undefined> | undefined)?.[this.id] ?? {}
    for (const id of cancels) if (!this.#pending.has(id)) void this.#cancel(id)
  }

  #fileOf(id: string | undefined): UppyFile<M, B> | undefined {
    return id === undefined ? undefined : this.uppy.getFiles().find(({ tidegate }) => tidegate?.id === id)
  }

  #prepare(request: HttpRequest, file: UppyFile<M, B>): void {
    this.#waiting.delete(file.id)
    this.#line(request)
    const id = file.tidegate?.id
    if (id === undefined) return
    this.#requests.set(request, id)
    if (request.getMethod() === 'POST') {
      this.#created.add(id)
      request.setHeader('Upload-Id', id)
    } else {
      this.#neverCreateAgain(file)
    }
  }

  /**
   * Sends a request once it has a place. What is aborted before that is not sent at all, and never settles, as with a
   * request that is aborted on its way: tus-js-client would send it, and its upload may have begun anew.
   */
  #line(request: HttpRequest): void {
    const leaving = new AbortController()
    const [send, abort] = [request.send.bind(request), request.abort.bind(request)]
    request.send = async (body) => {
      await this.opts.ready?.()
      const leave = await takePlace(this.opts.limit, leaving.signal)
      leaving.signal.addEventListener('abort', leave)
      if (leaving.signal.aborted) {
        leave()
        return NEVER
      }
      for (const [field, value] of Object.entries(this.opts.client.headers())) request.setHeader(field, value)
      return send(body).finally(() => {
        leave()
        return leaving.signal.aborted ? NEVER : undefined
      })
    }
    request.abort = () => {
      leaving.abort()
      return abort()
    }
  }

  /** After a HEAD that is refused, whatever the reason, tus-js-client creates another upload where it can. */
  #neverCreateAgain(file: UppyFile<M, B>): void {
    const upload = this.uploaders[file.id]
    if (upload) upload.options.endpoint = null
  }

  /** Comes before tus-js-client looks at the answer. */
  async #judge(request: HttpRequest, response: HttpResponse): Promise<void> {
    const id = this.#requests.get(request)
    if (id === undefined || response.getStatus() < 400) return
    const isOfNow = request.getHeader('Authorization') === this.opts.client.headers().Authorization
    if (response.getStatus() === 401 && isOfNow) this.uppy.emit('tidegate:unauthorized')
    const isHead = request.getMethod() === 'HEAD'
    const isGone = response.getStatus() === 404 || response.getStatus() === 410
    const problem = isHead && isGone ? await this.#ask(id) : parseProblem(response.getBody(), response.getStatus())
    this.#problems.set(response, problem)
    const file = this.#fileOf(id)
    if (problem.code === 'UPLOAD_CANCELLED') {
      this.#cancelledElsewhere({ id, reason: problem.reason, cancelledAt: problem.cancelledAt, by: 'answer' })
    } else if (
      file &&
      (OVER.includes(problem.code) || (problem.code === 'NOT_FOUND' && request.getMethod() !== 'POST'))
    ) {
      this.#rename(file)
    }
  }

  /** What has become of an upload that is gone: the answer to a HEAD cannot say it. */
  async #ask(id: string): Promise<Problem> {
    try {
      const answer = await this.opts.client.fetch('GET', `/files/${id}`)
      await answer.body?.cancel()
    } catch (error) {
      if (error instanceof TidegateError) return error.problem
      throw error
    }
    throw new Error('The upload is gone and is not')
  }

  #cancelledElsewhere(cancelled: CancelledElsewhere): void {
    const file = this.#fileOf(cancelled.id)
    if (!file) return
    this.#left.add(cancelled.id)
    this.uppy.removeFile(file.id)
    const message = this.i18n('cancelledElsewhere', { file: file.name })
    this.uppy.info({ message, details: cancelled.reason ?? '' }, 'warning', this.uppy.opts.infoTimeout)
    this.uppy.emit('tidegate:cancelled', file, cancelled)
  }

  #forget = (file: UppyFile<M, B>): void => {
    this.#stop(file.id)
    this.#follow()
    const id = file.tidegate?.id
    if (id === undefined) return
    const isKnown = this.#created.delete(id) || file.tus?.uploadUrl != null
    const isLeft = this.#left.delete(id)
    if (isKnown && !isLeft && !file.progress.uploadComplete) void this.#cancel(id)
  }

  /** Ends what is sent, so that `@uppy/tus`, whose turn is next, has no URL to send a DELETE to. */
  #stop(fileId: string): void {
    this.#waiting.delete(fileId)
    const upload = this.uploaders[fileId]
    if (!upload) return
    void upload.abort()
    upload.url = null
  }

  #stopAll = (): void => {
    for (const fileId of Object.keys(this.uploaders)) this.#stop(fileId)
  }

  /** Comes before `@uppy/tus`, which starts every file, also one that is sent already or waits for its next attempt. */
  #pauseAll = (): void => {
    this.#waiting.clear()
    for (const upload of Object.values(this.uploaders)) void upload?.abort()
  }

  /**
   * Ends an upload on the server. One whose creation has not arrived yet will be refused when it does. What is not
   * answered is asked again, after a reload as well.
   */
  async #cancel(id: string): Promise<void> {
    const pending = this.#pending
    pending.set(id, this.opts.client.headers())
    this.#keepPending(pending)
    for (let attempt = 0; !(await this.#isOver(id, pending)); attempt += 1) {
      const delay = CANCEL_DELAYS[attempt]
      if (delay === undefined) attempt = -1
      await this.#pause(delay)
    }
    pending.delete(id)
    this.#keepPending(pending)
  }

  async #isOver(id: string, pending: Map<string, Record<string, string>>): Promise<boolean> {
    const { client, reason } = this.opts
    // Whoever has signed out meanwhile wanted it all the same.
    const headers = { 'Tus-Resumable': '1.0.0', ...pending.get(id) }
    try {
      await client.fetch('DELETE', `/files/${id}`, { anonymous: true, headers, body: { reason } })
      return true
    } catch (error) {
      const status = error instanceof TidegateError ? error.status : 500
      // It may have been renewed.
      if (status === 401 && pending === this.#pending) pending.set(id, client.headers())
      return status < 500 && status !== 429 && status !== 401
    }
  }

  /** For so many milliseconds, if that is said, or until the network is back. */
  #pause(delay: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#wakers.delete(wake)
        resolve()
      }
      this.#wakers.add(wake)
      if (delay !== undefined) setTimeout(wake, delay)
    })
  }

  /** Golden Retriever has them, if it is there, and gives them back with what it has restored. */
  #keepPending(pending: Map<string, unknown>): void {
    if (pending !== this.#pending) return
    this.uppy.emit('restore:plugin-data-changed', { [this.id]: { cancels: [...pending.keys()] } })
  }

  #shouldRetry(error: TusDetailedError, attempt: number, next: (error: TusDetailedError) => boolean): boolean {
    const file = this.#fileOf(this.#requests.get(error.originalRequest))
    const upload = file && this.uploaders[file.id]
    if (!upload) return false
    const response = error.originalResponse
    if (!response) void this.#endIfChanged(file.id, upload)
    if (response && OVER.includes(this.#problems.get(response)?.code ?? '')) return false
    if (!isPassing(response?.getStatus(), attempt) && !next(error)) return false
    // tus-js-client looks up the delay after this.
    const least = Math.min(parseRetryAfter(response?.getHeader('Retry-After')) ?? 0, LONGEST_RETRY_AFTER)
    upload.options.retryDelays = RETRY_DELAYS.map((delay) => Math.max(least, delay * (0.5 + Math.random() / 2)))
    this.#waiting.add(file.id)
    return true
  }

  /** A browser says no more of a file that has changed than of a server that cannot be reached. */
  async #endIfChanged(fileId: string, upload: NonNullable<(typeof this.uploaders)[string]>): Promise<void> {
    if (!(upload.file instanceof Blob)) return
    try {
      await upload.file.slice(0, 1).arrayBuffer()
    } catch {
      if (this.uploaders[fileId] !== upload) return
      void upload.abort()
      upload.options.onError?.(new Error(this.i18n('changed')))
    }
  }

  /** The network is back. */
  #hurry = (): void => {
    for (const wake of this.#wakers) wake()
    for (const fileId of this.#waiting) {
      const upload = this.uploaders[fileId]
      if (!upload || this.uppy.getFile(fileId)?.isPaused) continue
      void upload.abort()
      upload.start()
    }
    this.#waiting.clear()
  }

  /** What the user reads is what the server says, not where in tus-js-client it was read. */
  #explain(error: Error | TusDetailedError): void {
    const origin = (error.cause ?? error) as Partial<TusDetailedError>
    const response = origin.originalResponse
    if (response) {
      const problem = this.#problems.get(response) ?? parseProblem(response.getBody(), response.getStatus())
      error.message = problem.detail ?? problem.title
    } else if (origin.originalRequest) {
      error.message = this.i18n('unreachable')
    }
  }

  /** Follows the projects of the files that are on their way, and no others. */
  #follow = (): void => {
    const wanted = new Set(this.opts.subscribe === false ? [] : this.uppy.getFiles().flatMap(followed))
    for (const [projectId, feed] of this.#feeds) {
      if (!wanted.has(projectId)) feed.close()
    }
    for (const projectId of wanted) {
      if (!this.#feeds.has(projectId)) this.#feeds.set(projectId, this.#subscribe(projectId))
    }
  }

  #subscribe(projectId: string): Subscription {
    return this.opts.client.subscribe({
      projectId,
      types: ['upload.cancelling', 'upload.cancelled'],
      onEvent: this.handle,
      onState: ({ status }) => {
        if (status === 'ended') this.#feeds.delete(projectId)
      },
    })
  }
}

export default TidegateUploads
export { takePlace }

/** Refusals that `@uppy/tus` would not repeat, or not often enough. */
function isPassing(status: number | undefined, attempt: number): boolean {
  return status === 429 || (status === 401 && attempt < LOGIN_ATTEMPTS)
}

/** The project of a file that is on its way: it has begun, and has not arrived. */
function followed<M extends Meta, B extends Body>({ tidegate, progress }: UppyFile<M, B>): string[] {
  return tidegate && progress.uploadStarted && !progress.uploadComplete ? [tidegate.projectId] : []
}
