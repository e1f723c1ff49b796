// A file without bytes is complete as soon as it is created.

import assert from 'node:assert/strict'

import { expectSame, makeFile } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 0)
  const client = await new Client(opened(file), { endpoint }).run()
  assert.deepEqual(client.answers, ['POST 201'])
  return { ...(await expectSame(client.url, file)), answers: client.answers }
})
