// One file, one PATCH, and metadata in every alphabet.

import assert from 'node:assert/strict'

import { MIB, expectSame, makeFile, metadataOf } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 8 * MIB + 1)
  const metadata = { filename: 'Straße 東京 🚀.tif', filetype: 'image/tiff', empty: '' }
  const client = new Client(opened(file), { endpoint, metadata, addRequestId: true })
  await client.run()
  assert.deepEqual(client.answers, ['POST 201', 'PATCH 204'])
  assert.deepEqual(await metadataOf(client.url), metadata)
  return { ...(await expectSame(client.url, file)), answers: client.answers }
})
