// `parallelUploads`: four partial uploads at once, and a final one of them.

import assert from 'node:assert/strict'

import { MIB, eventually, expectSame, makeFile, metadataOf, rowOf } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 16 * MIB + 3)
  const metadata = { filename: 'whole.bin' }
  const metadataForPartialUploads = { filename: 'part.bin' }
  const parts = new Set()
  const client = new Client(opened(file), {
    endpoint,
    metadata,
    metadataForPartialUploads,
    parallelUploads: 4,
    chunkSize: 3 * MIB,
    onBeforeRequest: (request) => {
      if (request.getMethod() === 'PATCH') parts.add(request.getURL())
    },
  })
  await client.run()
  const count = (answer) => client.answers.filter((other) => other === answer).length
  assert.deepEqual([count('POST 201'), count('PATCH 204')], [5, 8], String(client.answers))
  assert.equal(client.answers.at(-1), 'POST 201')
  assert.equal(parts.size, 4)
  assert.deepEqual(await metadataOf(client.url), metadata)
  for (const part of parts) {
    assert.deepEqual(await metadataOf(part), metadataForPartialUploads)
  }
  // Nobody has hashed the whole yet: that is done in the background.
  await eventually(async () => (await rowOf(client.url)).sha256)
  return { ...(await expectSame(client.url, file)), parts: parts.size }
})
