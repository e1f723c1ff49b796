// Aborted in the middle of a PATCH; another client finds the upload's URL in a file and goes on.

import assert from 'node:assert/strict'
import { join } from 'node:path'

import { FileUrlStorage } from 'tus-js-client'

import { MIB, eventually, expectSame, makeFile, rowOf } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened, watched } from '../lib/upload.mjs'

// What may be under way in buffers of the client's, which go with its socket.
const UNDER_WAY_MAX = 2 * MIB

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 32 * MIB)
  const options = { endpoint, urlStorage: new FileUrlStorage(join(folder, 'urls.json')) }
  const half = file.size / 2
  const first = await new Promise((resolve) => {
    const fileReader = watched((at) => {
      if (at < half) return
      client.upload.abort()
      resolve(client)
    })
    const client = new Client(opened(file), { ...options, fileReader })
    client.upload.start()
  })
  assert.deepEqual(first.answers, ['POST 201'])
  // Whoever resumes at once may ask before the server has read what had arrived.
  const enough = half - UNDER_WAY_MAX
  const kept = await eventually(async () => {
    const { offset } = await rowOf(first.url)
    return offset > enough && offset
  })
  assert.ok(kept <= half, `${kept} bytes kept of ${half}`)

  const second = new Client(opened(file), options)
  const [previous, ...more] = await second.upload.findPreviousUploads()
  assert.equal(previous.uploadUrl, first.url)
  assert.equal(more.length, 0)
  second.upload.resumeFromPreviousUpload(previous)
  await second.run()
  assert.deepEqual(second.answers, ['HEAD 200', 'PATCH 204'])
  return { ...(await expectSame(second.url, file)), abortedAt: half, resumedAt: kept }
})
