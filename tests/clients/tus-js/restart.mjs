// The server ends in the middle of a PATCH, and comes back at the same address.
//
// With SIGKILL it is away until the client has been refused twice; with SIGTERM it answers first,
// and must be gone before a client with the stock delays gives up.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { MIB, expectSame, makeFile } from '../lib/file.mjs'
import { scenario } from '../lib/scenario.mjs'
import { Server } from '../lib/server.mjs'
import { Client, opened, watched } from '../lib/upload.mjs'

const RETRY_DELAYS = { SIGKILL: [0, 100, 200, 400, 800, 1600, 3200, 6400], SIGTERM: undefined }

const { values: options } = parseArgs({
  options: { server: { type: 'string' }, host: { type: 'string' }, signal: { type: 'string' } },
})

await scenario(async (folder) => {
  const file = await makeFile(folder, 32 * MIB)
  const { server: binary, host, signal } = options
  const server = new Server({ binary, host, dataDir: join(folder, 'data') })
  await server.start()

  let ended = null
  let left = () => {}
  const fileReader = watched((at) => {
    if (at < file.size / 2 || ended) return
    // The rest waits, so that the end comes in the middle of this very PATCH.
    const leaves = new Promise((resolve) => (left = resolve))
    ended = server.end(signal).finally(left)
    return leaves
  })
  const client = new Client(opened(file), {
    endpoint: server.endpoint,
    fileReader,
    ...(RETRY_DELAYS[signal] && { retryDelays: RETRY_DELAYS[signal] }),
  })
  const refused = new Promise((resolve) => {
    client.onRetry = () => {
      left()
      const refusals = client.retries.filter((retry) => retry.includes('ECONNREFUSED'))
      if (refusals.length === 2) resolve()
    }
  })
  const uploaded = client.run()
  await Promise.race([refused, uploaded])
  const status = await ended
  assert.equal(status, signal === 'SIGKILL' ? null : 0, 'the exit status of the server')
  await server.start()
  await uploaded
  const { answers, resumedAt, retries } = client
  assert.ok(resumedAt.at(-1) > 0, `resumed at ${resumedAt}`)
  return { ...(await expectSame(client.url, file)), answers, resumedAt, retries }
})
