// Cancels a running upload whose sender never sees the answer to its PATCH, because that is lost on
// the way. It asks with HEAD, goes on, is told, and must not send the file anew. With and without
// chunks.
//
//     node cancel/lost.mjs CREATION_URL [ROUNDS]

import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'

import { deafRelay } from '../lib/deaf.mjs'
import { MIB, noise } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client } from '../lib/upload.mjs'

const rounds = Number(process.argv[3] ?? 10)
const content = noise('lost')(128 * MIB)

await scenarioAt(async (endpoint) => {
  let losing = false
  const relay = await deafRelay(endpoint, () => losing)
  for (let round = 0; round < rounds; round += 1) {
    for (const chunkSize of [8 * MIB, Infinity]) {
      losing = false
      const client = new Client(content, {
        endpoint: relay.endpoint,
        chunkSize,
        retryDelays: [0, 10, 100, 1000],
        // From the first lost answer on, they come through again.
        onShouldRetry: () => {
          losing = false
          return true
        },
      })
      const begun = new Promise((resolve) => (client.upload.options.onProgress = resolve))
      const ended = client.run().then(
        () => 'it was completed',
        (error) => error.message,
      )
      await begun
      await setTimeout(Math.random() * 20)
      losing = true
      await cancelByPost(endpoint, client.url)
      const seen = `round ${round}: ${client.answers.join(', ')} (${await ended})`
      assert.equal(client.answers.at(-1), 'PATCH 410', seen)
      assert.equal(client.answers.filter((answer) => answer.startsWith('POST')).length, 1, seen)
    }
  }
  assert.ok(relay.lost() >= rounds, `only ${relay.lost()} answers were lost`)
  return { rounds: 2 * rounds, lost: relay.lost() }
})

/** Not through the relay: it is somebody else who cancels. */
async function cancelByPost(endpoint, url) {
  const id = url.split('/').at(-1)
  const call = new URL(`/api/uploads/${id}/cancel`, endpoint)
  const answer = await fetch(call, { method: 'POST' })
  assert.equal(answer.status, 200)
  const { data } = await answer.json()
  assert.match(data.outcome, /^cancell(ed|ing)$/)
}
