// A PATCH for every 256 KiB, the last one shorter.

import assert from 'node:assert/strict'

import { KIB, expectSame, makeFile } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

const CHUNK = 256 * KIB

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 20 * CHUNK + 12_345)
  const ends = []
  const onChunkComplete = (_size, end) => ends.push(end)
  const client = new Client(opened(file), { endpoint, chunkSize: CHUNK, onChunkComplete })
  await client.run()
  assert.deepEqual(client.answers, ['POST 201', ...Array(21).fill('PATCH 204')])
  assert.deepEqual(ends, [...Array.from({ length: 20 }, (_, n) => (n + 1) * CHUNK), file.size])
  return { ...(await expectSame(client.url, file)), patches: ends.length }
})
