// The same as node.mjs in a real browser: tus-js-client's own bundle on XMLHttpRequest.
//
//     node cancel/chromium.mjs CREATION_URL [ROUNDS] [http1]
//
// Over TLS a browser behaves differently from what a plain connection on this machine shows: it
// reads no answer before the body is sent, unless a write fails. Run it with a TLS server.

import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { setTimeout } from 'node:timers/promises'

import { launch } from '../lib/browser.mjs'
import { cancel, check, waits } from '../lib/cancel.mjs'
import { scenarioAt } from '../lib/scenario.mjs'

const rounds = Number(process.argv[3] ?? 100)
const bundle = fileURLToPath(new URL('../node_modules/tus-js-client/dist/tus.min.js', import.meta.url))

await scenarioAt(async (endpoint) => {
  const browser = await launch(...(process.argv[4] === 'http1' ? ['--disable-http2'] : []))
  try {
    const context = await browser.newContext({ ignoreHTTPSErrors: true })
    const page = await context.newPage()
    await page.addScriptTag({ path: bundle })
    const protocols = new Set()
    const devtools = await context.newCDPSession(page)
    await devtools.send('Network.enable')
    devtools.on('Network.responseReceived', ({ response }) => protocols.add(response.protocol))
    const ms = []
    const cancelSoon = async (url) => {
      await setTimeout(Math.random() * 50)
      ms.push(await cancel(url))
    }
    await page.exposeFunction('cancelSoon', cancelSoon)
    for (let round = 0; round < rounds; round += 1) {
      check(await page.evaluate(upload, endpoint), round)
    }
    const spoken = process.argv[4] === 'http1' ? 'http/1.1' : 'h2'
    assert.deepEqual([...protocols], [spoken])
    return { rounds, cancelledInMs: waits(ms), spoken }
  } finally {
    await browser.close()
  }
})

/** Runs in the page: uploads until there is an end, and tells what was answered on the way. */
function upload(endpoint) {
  const MIB = 1024 * 1024
  const piece = new Blob([new Uint8Array(8 * MIB).fill(7)])
  const file = new Blob(Array(64).fill(piece))
  const answers = []
  return new Promise((resolve) => {
    let asked = false
    const upload = new tus.Upload(file, {
      endpoint,
      chunkSize: 8 * MIB,
      storeFingerprintForResuming: false,
      onAfterResponse: (request, response) =>
        answers.push(`${request.getMethod()} ${response.getStatus()}`),
      onProgress: () => {
        if (!asked && upload.url) cancelSoon(upload.url)
        asked = true
      },
      onSuccess: () => resolve({ answers, error: 'it was completed' }),
      onError: (error) => resolve({ answers, error: error.message }),
    })
    upload.start()
  })
}
