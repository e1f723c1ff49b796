// `overridePatchMethod`: every PATCH goes as a POST that says so.

import assert from 'node:assert/strict'

import { MIB, expectSame, makeFile } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 5 * MIB)
  const options = { endpoint, overridePatchMethod: true, chunkSize: 2 * MIB }
  const client = await new Client(opened(file), options).run()
  assert.deepEqual(client.answers, ['POST 201', 'POST 204', 'POST 204', 'POST 204'])
  return { ...(await expectSame(client.url, file)), answers: client.answers }
})
