// `uploadLengthDeferred`: a stream, whose length the last PATCH tells.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'

import { KIB, expectSame, makeFile } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client } from '../lib/upload.mjs'

const CHUNK = 256 * KIB

// Its end is there from the start, and no length here is a multiple of the chunk's: tus-js-client
// 4.3 waits for ever for an end that does not come along with the last bytes.
function streamOf(bytes) {
  const stream = new Readable({ read() {} })
  stream.push(bytes)
  stream.push(null)
  return stream
}

await scenarioAt(async (endpoint, folder) => {
  const seen = []
  for (const [size, patches] of [
    [4 * CHUNK + 1, 5],
    [1, 1],
  ]) {
    const file = await makeFile(folder, size)
    const options = { endpoint, uploadLengthDeferred: true, chunkSize: CHUNK }
    const client = await new Client(streamOf(await readFile(file.path)), options).run()
    assert.deepEqual(client.answers, ['POST 201', ...Array(patches).fill('PATCH 204')])
    seen.push({ ...(await expectSame(client.url, file)), patches })
  }
  return { seen }
})
