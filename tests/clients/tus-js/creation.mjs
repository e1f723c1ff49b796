// `uploadDataDuringCreation`: the POST brings the first chunk, or everything.

import assert from 'node:assert/strict'

import { MIB, expectSame, makeFile } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 3 * MIB)
  const options = { endpoint, uploadDataDuringCreation: true }
  const whole = await new Client(opened(file), options).run()
  assert.deepEqual(whole.answers, ['POST 201'])
  const chunks = await new Client(opened(file), { ...options, chunkSize: 2 * MIB }).run()
  assert.deepEqual(chunks.answers, ['POST 201', 'PATCH 204'])
  return {
    whole: await expectSame(whole.url, file),
    chunks: await expectSame(chunks.url, file),
  }
})
