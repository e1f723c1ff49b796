// The connection is cut three times, in three ways, and the client goes on by itself.

import assert from 'node:assert/strict'

import { MIB, expectSame, makeFile } from '../lib/file.mjs'
import { relay } from '../lib/relay.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened } from '../lib/upload.mjs'

const PIECE = 8 * MIB

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 5 * PIECE)
  const cuts = ['close', 'reset', 'vanish'].map((how) => ({ how, after: PIECE }))
  const between = await relay(endpoint, cuts)
  const client = await new Client(opened(file), { endpoint: between.endpoint }).run()
  assert.equal(between.cutsLeft(), 0, 'cuts that did not happen')
  const { resumedAt, retries, answers } = client
  // One upload from beginning to end; a PATCH that came before the bytes of the one before it were
  // counted is answered 409, and the client asks again.
  const known = ['POST 201', 'HEAD 200', 'PATCH 409', 'PATCH 204']
  assert.deepEqual(answers.filter((answer) => !known.includes(answer)), [])
  assert.equal(answers.lastIndexOf('POST 201'), 0)
  assert.deepEqual(resumedAt, [...resumedAt].sort((a, b) => a - b), 'an offset was taken back')
  return { ...(await expectSame(client.url, file)), answers, resumedAt, retries }
})
