// A stock tus-js-client uploads a file while the server is killed with SIGKILL, again and again,
// and started again at once. In the end the file must come back byte for byte.
//
//     node tests/clients/kill.mjs --size 2048 --kills 5 --server target/release/tidegate
//
// What follows `--` goes to the server: `-- --durability process-crash`.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { MIB, expectSame, makeFile, noise } from './lib/file.mjs'
import { scenario } from './lib/scenario.mjs'
import { Server } from './lib/server.mjs'
import { Client, opened, watched } from './lib/upload.mjs'

const { values: options, positionals: flags } = parseArgs({
  allowPositionals: true,
  options: {
    /** Of the file, in MiB. */
    size: { type: 'string', default: '64' },
    kills: { type: 'string', default: '3' },
    server: { type: 'string', default: 'target/release/tidegate' },
    host: { type: 'string', default: '127.0.0.1' },
    /** Repeats a run: content and moments come from it. */
    seed: { type: 'string', default: randomBytes(8).toString('hex') },
    /** Holds the file and the data directory while it runs: twice the size is needed. */
    folder: { type: 'string' },
  },
})

/** One random position in each of `count` equal stretches: every kill meets an upload under way. */
function moments(size, count, seed) {
  const random = noise(`moments of ${seed}`)
  const share = () => random(4).readUInt32BE() / 2 ** 32
  return Array.from({ length: count }, (_, n) => Math.floor(((n + share()) * size) / count))
}

async function run(folder) {
  const { seed } = options
  const file = await makeFile(folder, Number(options.size) * MIB, seed)
  const server = new Server({
    binary: options.server,
    host: options.host,
    dataDir: join(folder, 'data'),
    flags,
  })
  await server.start()

  const waiting = moments(file.size, Number(options.kills), seed)
  const killedAt = []
  let restarted = Promise.resolve()
  const fileReader = watched((at) => {
    if (!(at >= waiting[0])) return
    waiting.shift()
    killedAt.push(at)
    restarted = restarted.then(() => server.end('SIGKILL')).then(() => server.start())
  })
  const client = new Client(opened(file), { endpoint: server.endpoint, fileReader })
  const started = performance.now()
  await client.run()
  const seconds = Number(((performance.now() - started) / 1000).toFixed(3))
  await restarted

  const { answers, resumedAt } = client
  assert.equal(killedAt.length, Number(options.kills), 'the kills that met the upload')
  assert.equal(answers.filter((answer) => answer === 'POST 201').length, 1, String(answers))
  assert.deepEqual(resumedAt, [...resumedAt].sort((a, b) => a - b), 'an offset was taken back')
  const same = await expectSame(client.url, file)
  return { seed, seconds, killedAt, resumedAt, answers, ...same }
}

await scenario(run, { parent: options.folder, secondsMax: 120 + Number(options.size) })
