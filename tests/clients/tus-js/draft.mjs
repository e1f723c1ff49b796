// The IETF draft as tus-js-client speaks it: a file at once, in chunks, with its creation, as a
// stream, resumed by another client, and terminated.
//
//     node tus-js/draft.mjs CREATION_URL ietf-draft-03|ietf-draft-05

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'

import { FileUrlStorage } from 'tus-js-client'

import { KIB, MIB, eventually, expectSame, makeFile, metadataOf, rowOf } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened, watched } from '../lib/upload.mjs'

const protocol = process.argv[3]
const CHUNK = 256 * KIB

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 4 * CHUNK + 12_345)
  const options = { endpoint, protocol }
  const parts = Array(5).fill('PATCH 201')

  const metadata = { filename: 'Straße 東京 🚀.tif', filetype: 'image/tiff' }
  const whole = await new Client(opened(file), { ...options, metadata }).run()
  assert.deepEqual(whole.answers, ['POST 201', 'PATCH 201'])
  assert.deepEqual(await metadataOf(whole.url), metadata)
  await expectComplete(whole.url, file)

  const chunks = await new Client(opened(file), { ...options, chunkSize: CHUNK }).run()
  assert.deepEqual(chunks.answers, ['POST 201', ...parts])
  await expectComplete(chunks.url, file)

  const early = { ...options, uploadDataDuringCreation: true, chunkSize: CHUNK }
  const created = await new Client(opened(file), early).run()
  assert.deepEqual(created.answers, ['POST 201', ...parts.slice(1)])
  await expectComplete(created.url, file)

  const stream = Readable.from([await readFile(file.path)], { objectMode: false })
  const deferred = { ...options, uploadLengthDeferred: true, chunkSize: CHUNK }
  const streamed = await new Client(stream, deferred).run()
  await expectComplete(streamed.url, file)

  const nothing = await makeFile(folder, 0)
  const empty = await new Client(opened(nothing), options).run()
  assert.deepEqual(empty.answers, ['POST 201'])
  await expectComplete(empty.url, nothing)

  const resumed = await resume(options, await makeFile(folder, 16 * MIB), folder)
  const terminated = await terminate(options, await makeFile(folder, 16 * MIB))
  return { protocol, whole: whole.answers, chunks: chunks.answers, resumed, terminated }
})

/** That the server has it, and knows that it has all of it. */
async function expectComplete(url, file) {
  await expectSame(url, file)
  const { state, length } = await rowOf(url)
  assert.deepEqual({ state, length }, { state: 'completed', length: file.size })
}

/** Aborted in the middle; another client finds the upload's URL in a file and goes on. */
async function resume(options, file, folder) {
  const stored = { ...options, urlStorage: new FileUrlStorage(join(folder, 'urls.json')) }
  const first = await aborted(file, stored, false)
  await eventually(async () => (await rowOf(first.url)).offset > 0)
  const second = new Client(opened(file), stored)
  const [previous] = await second.upload.findPreviousUploads()
  second.upload.resumeFromPreviousUpload(previous)
  await second.run()
  assert.equal(second.url, first.url)
  assert.deepEqual(second.answers, ['HEAD 204', 'PATCH 201'])
  await expectComplete(second.url, file)
  return second.answers
}

/** The DELETE meets the PATCH that is still running. */
async function terminate(options, file) {
  const client = await aborted(file, options, true)
  assert.deepEqual(client.answers, ['POST 201', 'DELETE 204'])
  // Whatever the client says: it is gone.
  const headers = { 'Upload-Draft-Interop-Version': '9' }
  const gone = []
  for (const method of ['HEAD', 'GET', 'PATCH', 'DELETE']) {
    const more = { 'Upload-Offset': '0', 'Upload-Complete': '?1', 'Content-Type': 'application/partial-upload' }
    const sent = method === 'PATCH' ? { ...headers, ...more } : headers
    gone.push(`${method} ${(await fetch(client.url, { method, headers: sent })).status}`)
  }
  assert.deepEqual(gone, ['HEAD 410', 'GET 410', 'PATCH 410', 'DELETE 410'])
  return gone
}

/** A client that leaves in the middle of its file. */
function aborted(file, options, terminates) {
  return new Promise((resolve, reject) => {
    const fileReader = watched((at) => {
      if (at !== file.size / 2) return
      client.upload.abort(terminates).then(() => resolve(client), reject)
    })
    const client = new Client(opened(file), { ...options, fileReader })
    client.upload.start()
  })
}
