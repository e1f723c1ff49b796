// Golden Retriever, with an IndexedDB in memory: a page that was closed and is opened again.

import 'fake-indexeddb/auto'
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Tidegate } from '@tidegate/client'
import Uppy, { type Body, type Meta } from '@uppy/core'
import { eventually, Log } from './support/log.ts'
import { Server } from './support/server.ts'
import { content, sent, type Uploader, uploader, uploadOf } from './support/uppy.ts'

// It looks for the database here, when it is loaded.
Object.assign(globalThis, { window: globalThis })
const { default: GoldenRetriever } = await import('@uppy/golden-retriever')
Object.assign(GoldenRetriever, { [Symbol.for('uppy test: throttleTime')]: 0 })

const SIZE = 4 * 1024 * 1024

/** A page: what it has restored has the content again that a browser would have kept as a Blob. */
function page(t: TestContext, client: Tidegate, id: string): Uploader & { restored: Log<true> } {
  const uppy = new Uppy<Meta, Body>({ id, logger: { debug() {}, warn() {}, error() {} } })
  const restored = new Log<true>()
  uppy.on('restored', () => {
    for (const file of uppy.getFiles()) uppy.setFileState(file.id, { data: content(SIZE) })
    restored.push(true)
  })
  const made = uploader(t, client, { chunkSize: 64 * 1024, subscribe: false }, uppy)
  uppy.use(GoldenRetriever)
  return { ...made, restored }
}

/** What is kept of a page's files. */
function saved(id: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('uppy-blobs')
    opening.onerror = () => reject(opening.error)
    opening.onsuccess = () => {
      const reading = opening.result.transaction('metadata').objectStore('metadata').get(id)
      reading.onsuccess = () => resolve(JSON.stringify(reading.result ?? ''))
    }
  })
}

/** A page that is closed while it sends a file. */
async function closed(t: TestContext, client: Tidegate, name: string) {
  const first = page(t, client, name)
  const { id, fileId } = first.add('scan.tif', SIZE)
  void first.uppy.upload()
  await sent.until((all) => all.filter((request) => request.id === id).length > 5)
  first.uppy.pauseResume(fileId)
  await eventually(async () => (await saved(name)).includes(`/files/${id}`))
  return { id, fileId }
}

const posts = (id: string) => sent.all.filter((request) => request.id === id && request.method === 'POST').length

test('a file goes on under its name, where it was to go', async (t) => {
  const { client } = await Server.of(t)
  const { id, fileId } = await closed(t, client, 'goes-on')
  const second = page(t, client, 'goes-on')
  second.plugin.setOptions({ projectId: 'another' })
  await second.restored.until(([first]) => first)
  assert.equal(uploadOf(second.uppy.getFile(fileId)), id)
  second.uppy.emit('restore-confirmed')
  await second.told.find(({ type }) => type === 'success')
  assert.equal((await client.upload(id)).state, 'completed')
  assert.equal(posts(id), 1)
})

test('a file that was cancelled meanwhile leaves, and is not kept any longer', async (t) => {
  const { client } = await Server.of(t)
  const { id } = await closed(t, client, 'cancelled')
  await client.cancelUpload(id, 'wrong plate')
  const second = page(t, client, 'cancelled')
  await second.restored.until(([first]) => first)
  second.uppy.emit('restore-confirmed')
  const { cancelled } = await second.told.find(({ type }) => type === 'cancelled')
  assert.deepEqual([cancelled?.reason, cancelled?.by], ['wrong plate', 'answer'])
  assert.deepEqual(second.uppy.getFiles(), [])
  await eventually(async () => !(await saved('cancelled')).includes(id))
  assert.equal(posts(id), 1)
})

test('a cancel that the server has not heard is told by the next page', async (t) => {
  const { client, url } = await Server.of(t)
  const unheard: typeof fetch = (input, init) =>
    init?.method === 'DELETE' ? new Promise(() => {}) : globalThis.fetch(input, init)
  const first = page(t, new Tidegate({ server: url, fetch: unheard }), 'unheard')
  const { id, fileId } = first.add('scan.tif', SIZE)
  void first.uppy.upload()
  await sent.until((all) => all.filter((request) => request.id === id).length > 5)
  first.uppy.removeFile(fileId)
  await eventually(async () => (await saved('unheard')).replaceAll('\\', '').includes(`"cancels":["${id}"]`))
  page(t, client, 'unheard')
  await eventually(async () => (await client.upload(id)).state === 'cancelled')
  await eventually(async () => (await saved('unheard')).replaceAll('\\', '').includes('"cancels":[]'))
})
