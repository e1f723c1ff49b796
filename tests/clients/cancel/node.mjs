// Cancels a running upload of tus-js-client on Node again and again, at random moments. Each time
// the client must see the 410 to its PATCH, and must not create the upload anew.
//
//     node cancel/node.mjs CREATION_URL [ROUNDS]

import { setTimeout } from 'node:timers/promises'

import { cancel, check, waits } from '../lib/cancel.mjs'
import { MIB, noise } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Client } from '../lib/upload.mjs'

const rounds = Number(process.argv[3] ?? 100)
const content = noise('cancelled')(256 * MIB)

await scenarioAt(async (endpoint) => {
  const ms = []
  for (let round = 0; round < rounds; round += 1) {
    const client = new Client(content, { endpoint, chunkSize: 8 * MIB })
    const begun = new Promise((resolve) => (client.upload.options.onProgress = resolve))
    const ended = client.run().then(
      () => 'it was completed',
      (error) => error.message,
    )
    await begun
    await setTimeout(Math.random() * 50)
    ms.push(await cancel(client.url))
    check({ answers: client.answers, error: await ended }, round)
  }
  return { rounds, cancelledInMs: waits(ms) }
})
