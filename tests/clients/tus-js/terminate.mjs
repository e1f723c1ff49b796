// `abort(true)` in the middle: the DELETE meets the PATCH that is still running.

import assert from 'node:assert/strict'

import { MIB, makeFile } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client, opened, watched } from '../lib/upload.mjs'

await scenarioAt(async (endpoint, folder) => {
  const file = await makeFile(folder, 16 * MIB)
  const client = await new Promise((resolve, reject) => {
    const fileReader = watched((at) => {
      if (at !== file.size / 2) return
      client.upload.abort(true).then(() => resolve(client), reject)
    })
    const client = new Client(opened(file), { endpoint, fileReader })
    client.upload.start()
  })
  assert.deepEqual(client.answers, ['POST 201', 'DELETE 204'])
  // Repeating it is safe.
  const gone = []
  for (const method of ['HEAD', 'GET', 'DELETE']) {
    const headers = { 'Tus-Resumable': '1.0.0' }
    const answer = await fetch(client.url, { method, headers })
    gone.push(`${method} ${answer.status}`)
  }
  assert.deepEqual(gone, ['HEAD 410', 'GET 410', 'DELETE 204'])
  return { url: client.url, answers: client.answers, gone }
})
