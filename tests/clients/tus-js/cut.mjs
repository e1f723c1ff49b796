// The connection is cut three times, in three ways, and the client goes on by itself.

import assert from 'node:assert/strict'

import { MIB, expectSame, makeFile } from '../lib/file.mjs'
import { relay } from '../lib/relay.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 24 * MIB)
  const between = await relay(endpoint, [
    { after: 5 * MIB, how: 'close' },
    { after: 11 * MIB, how: 'reset' },
    { after: 17 * MIB, how: 'vanish' },
  ])
  const client = await new Client(opened(file), { endpoint: between.endpoint }).run()
  assert.equal(between.cutsLeft(), 0, 'cuts that did not happen')
  assert.equal(client.answers.filter((answer) => answer.startsWith('POST')).length, 1)
  const { resumedAt, retries, answers } = client
  assert.deepEqual(resumedAt, resumedAt.toSorted((a, b) => a - b), 'an offset was taken back')
  return { ...(await expectSame(client.url, file)), answers, resumedAt, retries }
})
