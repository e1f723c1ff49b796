import { type FeedOptions, openFeed, type Subscription } from './feed.js'
import { TidegateError } from './problem.js'
import type { BulkCancelled, Cancelled, Export, Page, QueueItem, Upload } from './types.js'

export interface ClientOptions {
  /** Where the server is. In a browser the page's own origin if it is left out. */
  server?: string | URL
  /** The login, under `--auth jwt`. A function is asked for each request, so that it can be renewed. */
  token?: string | (() => string | undefined)
  /** In the place of the global `fetch`. */
  fetch?: typeof fetch
}

export interface Ask {
  /** Sent as JSON. */
  body?: unknown
  query?: Record<string, string | number | undefined>
  headers?: Record<string, string>
  /** Without the login: something in the query takes its place. */
  anonymous?: boolean
  signal?: AbortSignal
}

export interface List {
  page?: number
  /** 1 to 100. */
  limit?: number
  signal?: AbortSignal
}

/** What is listed, as the parameters of the query say. */
export interface UploadList extends List {
  state?: Upload['state']
}

export interface ItemList extends List {
  /** Several have commas between them. */
  state?: string
  imageId?: string
}

/**
 * A server, and who is asking it.
 *
 * Every method rejects with a {@link TidegateError} when the server refuses, with a `TypeError` when it cannot be
 * reached, and with the signal's reason when it is aborted. Cancels can be repeated safely.
 */
export class Tidegate {
  readonly server: URL
  readonly #token: ClientOptions['token']
  readonly #fetch: typeof fetch

  constructor(options: ClientOptions = {}) {
    this.server = new URL(options.server ?? globalThis.location?.origin)
    this.#token = options.token
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis)
  }

  /** The `Authorization` of a request, if there is a login. */
  headers(): Record<string, string> {
    const token = typeof this.#token === 'function' ? this.#token() : this.#token
    return token === undefined ? {} : { Authorization: `Bearer ${token}` }
  }

  /** The absolute URL of a path. */
  url(path: string, query: Ask['query'] = {}): URL {
    const url = new URL(path, this.server)
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    return url
  }

  /** Any call. The answer is as it came; what is no success rejects. */
  async fetch(method: string, path: string, ask: Ask = {}): Promise<Response> {
    const headers: Record<string, string> = { ...(ask.anonymous ? {} : this.headers()), ...ask.headers }
    const init: RequestInit = { method, headers, signal: ask.signal ?? null }
    if (ask.body !== undefined) {
      headers['Content-Type'] = 'application/json'
      init.body = JSON.stringify(ask.body)
    }
    const answer = await this.#fetch(this.url(path, ask.query), init)
    if (!answer.ok) throw await TidegateError.of(answer)
    return answer
  }

  /** A call of the JSON interface: `data` of its answer. */
  async call<T>(method: string, path: string, ask?: Ask): Promise<T> {
    const answer = await this.fetch(method, path, ask)
    return ((await answer.json()) as { data: T }).data
  }

  /** A page of a list. */
  async list<T>(path: string, query: List = {}): Promise<Page<T>> {
    const { signal, ...rest } = query
    const answer = await this.fetch('GET', path, { query: rest as Ask['query'], signal })
    return (await answer.json()) as Page<T>
  }

  /** Newest first, 50 a page. See `docs/http.md`, "Uploads as JSON". */
  uploads(projectId: string, options: UploadList = {}): Promise<Page<Upload>> {
    return this.list(`/api/projects/${segment(projectId)}/uploads`, options)
  }

  /** One upload, whatever its state, until its tombstone is removed; then 404. */
  upload(id: string): Promise<Upload> {
    return this.call('GET', `/api/uploads/${segment(id)}`)
  }

  /** Newest first, 50 a page. See `docs/http.md`, "Look". */
  items(projectId: string, options: ItemList = {}): Promise<Page<QueueItem>> {
    return this.list(`/api/queue/projects/${segment(projectId)}/items`, options)
  }

  /** Newest first, 50 a page. See `docs/http.md`, "How far it is". */
  exports(projectId: string, options: List = {}): Promise<Page<Export>> {
    return this.list(`/api/projects/${segment(projectId)}/export/history`, options)
  }

  /**
   * Ends an upload that is not complete, whoever is sending it. The reason has up to 200 characters; its sender reads
   * it. 404: there is none, or none that the caller may see. See `docs/http.md`, "Cancel".
   */
  cancelUpload(id: string, reason?: string): Promise<Cancelled> {
    return this.call('POST', `/api/uploads/${segment(id)}/cancel`, { body: { reason } })
  }

  /** Ends the uploads with these ids, at most 10,000. What cannot be ended is said in `results`, and is no error. */
  cancelUploads(projectId: string, ids: string[], reason?: string): Promise<BulkCancelled> {
    return this.call('POST', `/api/projects/${segment(projectId)}/uploads/cancel`, { body: { ids, reason } })
  }

  /** Ends an item of the queue, waiting or processed. See `docs/http.md`, "Cancel items". */
  cancelItem(id: string, reason?: string): Promise<Cancelled> {
    return this.call('POST', `/api/queue/items/${segment(id)}/cancel`, { body: { reason } })
  }

  /** Ends an export, and removes what there is of its archive. See `docs/http.md`, "Cancel an export". */
  cancelExport(projectId: string, id: string, reason?: string): Promise<Cancelled> {
    const path = `/api/projects/${segment(projectId)}/export/${segment(id)}/cancel`
    return this.call('POST', path, { body: { reason } })
  }

  /**
   * Whoever cannot send `Authorization` opens a feed with it: good for one use, within 30 s. See `docs/http.md`,
   * "Tickets". {@link subscribe} does so by itself.
   */
  async ticket(signal?: AbortSignal): Promise<string> {
    return (await this.call<{ ticket: string }>('POST', '/api/events/ticket', { signal })).ticket
  }

  /**
   * Follows a project, over lost connections and restarts of the server, without missing a change of state. Never
   * throws: what is refused is the `problem` of the state. See `docs/events.md`.
   */
  subscribe(options: FeedOptions): Subscription {
    return openFeed(this, options)
  }
}

/** A part of a path that cannot be another one. */
function segment(text: string): string {
  return encodeURIComponent(text)
}
