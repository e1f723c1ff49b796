// A tab of a real Chromium that shows the page: its controls, what it sends, and whatever is wrong with it.

import assert from 'node:assert/strict'

import { eventually } from '../../lib/file.mjs'

/** A refusal that a scenario provokes, and that the browser reports of its own: its URL, and what is said of it. */
export const GONE = { url: /\/files\//, text: /status of 410/ }

/** The same of a feed that is cut. */
export const CUT = { url: /\/api\/events/, text: /ERR_FAILED/ }

export const WIDE = { width: 1280, height: 900 }

/** Runs in every document, before anything of it. */
function watchPolicy() {
  document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
    console.error(`policy: ${violatedDirective} ${blockedURI}`)
  })
}

export class Tab {
  /** Requests for uploads, in their order: `{ method, id, name, offset, at, status }`, `at` by the browser's clock; no status as long as there is none. */
  sent = []
  /** The most PATCHes that were under way at once. */
  mostAtOnce = 0
  /** The most PATCHes of one upload that were under way at once. */
  mostOfOne = 0
  /** PATCHes that are under way now. */
  patching = 0
  #faults = []
  #expected

  constructor(page, expected) {
    this.page = page
    this.#expected = expected
    this.#watch()
  }

  /** Opens `url` in a tab of `context`. Of the failed requests only the `expected` are no fault. */
  static async open(context, url, { expected = [], prepare, connection, isSignedOut } = {}) {
    const tab = new Tab(await context.newPage(), expected)
    await tab.page.addInitScript(watchPolicy)
    tab.devtools = await context.newCDPSession(tab.page)
    await tab.devtools.send('Network.enable')
    await prepare?.(tab)
    await tab.page.goto(url)
    if (isSignedOut) await tab.page.getByRole('heading', { name: 'Sign in' }).waitFor()
    else await tab.ready(connection)
    return tab
  }

  /** Returns once files can be chosen and the feed is there. */
  async ready(connection = 'Live') {
    await this.page.getByRole('button', { name: 'browse files' }).waitFor()
    await this.connected(connection)
  }

  /** Opens another of the page's panels. */
  async go(panel) {
    const panels = this.page.getByRole('navigation', { name: 'Panels' })
    await panels.getByRole('link', { name: panel, exact: true }).click()
    await this.page.getByRole('heading', { level: 1 }).first().waitFor()
  }

  async connected(status) {
    await this.page.getByRole('status', { name: 'Connection to the server' }).filter({ hasText: status }).waitFor()
  }

  async reload() {
    await this.page.reload()
    await this.ready()
  }

  /** Fails if the page has complained about anything, or has broken its Content-Security-Policy. */
  sound() {
    assert.deepEqual(this.#faults, [])
  }

  #watch() {
    const { page } = this
    page.on('pageerror', (error) => this.#faults.push(`${error.stack ?? error}`))
    page.on('console', (message) => {
      if (message.type() !== 'error') return
      const { url } = message.location()
      const isExpected = this.#expected.some((one) => one.url.test(url) && one.text.test(message.text()))
      if (!isExpected) this.#faults.push(`${message.text()} ${url}`)
    })
    const open = new Map()
    const count = () => {
      const patches = [...open.values()].filter(({ method }) => method === 'PATCH')
      this.patching = patches.length
      this.mostAtOnce = Math.max(this.mostAtOnce, patches.length)
      const byUpload = Map.groupBy(patches, ({ id }) => id)
      this.mostOfOne = Math.max(this.mostOfOne, ...[...byUpload.values()].map(({ length }) => length))
    }
    const end = (request, status) => {
      const entry = open.get(request)
      if (entry) Object.assign(entry, { status, at: request.timing().startTime })
      open.delete(request)
      count()
    }
    page.on('request', (request) => {
      const entry = entryOf(request)
      if (!entry) return
      this.sent.push(entry)
      open.set(request, entry)
      count()
    })
    page.on('requestfailed', (request) => end(request, request.failure()?.errorText ?? 'failed'))
    page.on('response', (response) => end(response.request(), response.status()))
    page.on('framenavigated', (frame) => {
      if (frame === page.mainFrame()) for (const request of open.keys()) end(request, 'left')
    })
  }

  /** What was sent for an upload, as `PATCH 204`. */
  answers(id) {
    return this.sent.filter((entry) => entry.id === id).map(({ method, status }) => `${method} ${status}`)
  }

  /** The ids of the uploads that were created, in order. */
  created() {
    return this.sent.filter(({ method, status }) => method === 'POST' && status === 201).map(({ id }) => id)
  }

  /** Bytes per second that the tab may send, 0 for as many as it can; or a network that is off. */
  async throttle(rate, { offline = false } = {}) {
    const uploadThroughput = rate === 0 ? -1 : rate
    const conditions = { offline, latency: 0, downloadThroughput: -1, uploadThroughput }
    await this.devtools.send('Network.emulateNetworkConditions', conditions)
  }

  /** The page hears nothing of the feed from now on, save, if it is said, over a WebSocket. */
  async cutFeed({ websocket = false } = {}) {
    // With `page.route` every request would go through here, content and all.
    this.devtools.on('Fetch.requestPaused', ({ requestId }) => {
      this.devtools.send('Fetch.failRequest', { requestId, errorReason: 'Failed' }).catch(() => {})
    })
    await this.devtools.send('Fetch.enable', { patterns: [{ urlPattern: '*/api/events?*' }] })
    if (!websocket) await this.page.routeWebSocket(/\/api\/events\/ws/, (socket) => socket.close())
  }

  /** Every request for an upload is refused from now on, as if the login had expired; what is given lets them through. */
  async refuseUploads() {
    const refuse = ({ requestId }) => {
      this.devtools.send('Fetch.fulfillRequest', { requestId, responseCode: 401 }).catch(() => {})
    }
    this.devtools.on('Fetch.requestPaused', refuse)
    await this.devtools.send('Fetch.enable', { patterns: [{ urlPattern: '*/files/*' }] })
    return async () => {
      this.devtools.off('Fetch.requestPaused', refuse)
      await this.devtools.send('Fetch.disable')
    }
  }

  /** Chooses files, or one folder, in the system's dialog. */
  async choose(paths, { folder = false } = {}) {
    const opened = this.page.waitForEvent('filechooser')
    await this.page.getByRole('button', { name: folder ? 'browse folders' : 'browse files' }).click()
    await (await opened).setFiles(paths)
  }

  /** Drags files and folders from the desktop into the page. */
  async drop(files) {
    const { x, y } = await this.page.getByRole('button', { name: 'browse files' }).boundingBox()
    const data = { items: [], files, dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop']) {
      await this.devtools.send('Input.dispatchDragEvent', { type, x: x - 20, y, data })
    }
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true })
  }

  /** The row of a file that is uploaded here. */
  file(name) {
    return this.#row('Files on their way', name)
  }

  /** The row of what somebody does. */
  operation(name) {
    return this.#row('Live operations', name)
  }

  #row(table, name) {
    const named = this.page.getByText(name, { exact: true })
    return this.page.getByRole('table', { name: table }).getByRole('row').filter({ has: named })
  }

  /** Waits until the row of a file says this. */
  async says(name, words) {
    await this.file(name).filter({ hasText: words }).waitFor()
  }

  /** Waits until bytes of it have been sent, at least this share of the file. */
  async reached(name, share) {
    await eventually(async () => (await this.share(name)) >= share)
  }

  /** How far a file is, 0 to 1, as the page shows it. */
  async share(name) {
    return Number(await this.file(name).getByRole('progressbar').getAttribute('value')) / 100
  }

  /** Names the uploads of files by those of the files. */
  async ids(endpoint) {
    const created = this.created()
    const found = await Promise.all(created.map((id) => fetch(new URL(`/api/uploads/${id}`, endpoint))))
    const rows = await Promise.all(found.map((answer) => answer.json()))
    return Object.fromEntries(rows.map(({ data }) => [data.metadata.relativePath ?? data.filename, data.id]))
  }
}

/** Only what is about uploads. */
function entryOf(request) {
  const method = request.method()
  const { pathname } = new URL(request.url())
  if (method === 'POST' && pathname.endsWith('/uploads')) {
    const { 'upload-id': id, 'upload-metadata': metadata } = request.headers()
    const [, name] = metadata.match(/filename ([^,]+)/)
    return { method, id, name: Buffer.from(name, 'base64').toString(), status: undefined }
  }
  const [, id] = pathname.match(/^\/files\/(.+)$/) ?? []
  if (id === undefined) return undefined
  return { method, id, offset: Number(request.headers()['upload-offset']), status: undefined }
}
