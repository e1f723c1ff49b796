// How fast the page sends a file, against one request of the same browser to the same server; and how long a cancel
// takes from the click to the confirmation that nothing is left. Figures, not a test:
//
//     node page/speed.mjs --server BINARY [--size MIB] [--rounds N]

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { launch } from '../lib/browser.mjs'
import { waits } from '../lib/cancel.mjs'
import { eventually, MIB } from '../lib/file.mjs'
import { scenario } from '../lib/scenario.mjs'
import { Server } from '../lib/server.mjs'
import { GONE, Tab, WIDE } from './lib/tab.mjs'

const { values } = parseArgs({
  options: {
    server: { type: 'string' },
    size: { type: 'string', default: '1024' },
    rounds: { type: 'string', default: '5' },
  },
})
const [size, rounds] = [Number(values.size), Number(values.rounds)]

async function hollow(path, bytes) {
  const file = await open(path, 'w')
  await file.truncate(bytes)
  await file.close()
  return path
}

/** In the browser: the file of an input as one request, the least that sending it can take. */
async function sendAtOnce() {
  const [file] = document.querySelector('#speed').files
  const tus = { 'Tus-Resumable': '1.0.0' }
  const made = await fetch('/files', { method: 'POST', headers: { ...tus, 'Upload-Length': `${file.size}` } })
  const type = 'application/offset+octet-stream'
  const begun = performance.now()
  await fetch(made.headers.get('Location'), {
    method: 'PATCH',
    headers: { ...tus, 'Upload-Offset': '0', 'Content-Type': type },
    body: file,
  })
  return performance.now() - begun
}

async function byOneRequest(page, path) {
  await page.evaluate(() =>
    document.querySelector('main').insertAdjacentHTML('beforeend', '<input id=speed type=file>'),
  )
  await page.locator('#speed').setInputFiles(path)
  const ms = await page.evaluate(sendAtOnce)
  await page.evaluate(() => document.querySelector('#speed').remove())
  return ms
}

async function byPage(tab, path) {
  const before = tab.sent.length
  await tab.choose([path])
  await eventually(() => tab.sent.slice(before).some(({ method }) => method === 'POST'))
  const begun = performance.now()
  await tab.page.getByText('1 of 1 file uploaded').waitFor()
  const ms = performance.now() - begun
  await tab.page.getByRole('button', { name: 'Clear finished' }).click()
  return ms
}

/** What the page says of a cancel in the middle of a file. */
async function cancel(tab, path) {
  const { page } = tab
  await tab.choose([path])
  const table = page.getByRole('region', { name: 'Live operations' })
  await table.getByText('MB/s').first().waitFor()
  await table.getByRole('button', { name: /^Cancel large/ }).click()
  const told = table.getByText(/stopped in/).first()
  const [, ms] = (await told.textContent()).match(/stopped in ([\d.]+) ms/)
  await page.getByRole('button', { name: 'Clear finished' }).click()
  await eventually(async () => (await table.getByText(/stopped in/).count()) === 0)
  return Number(ms)
}

await scenario(
  async (work) => {
    const server = new Server({ binary: values.server, dataDir: join(work, 'data'), flags: ['--log-filter', 'warn'] })
    await server.start()
    const path = await hollow(join(work, 'file.bin'), size * MIB)
    const large = await hollow(join(work, 'large.bin'), 20 * 1024 * MIB)
    const browser = await launch()
    const context = await browser.newContext({ viewport: WIDE })
    const tab = await Tab.open(context, `http://${server.address}/`, { expected: [GONE] })
    const [ratios, stopped] = [[], []]
    for (let round = 0; round < rounds; round += 1) {
      const once = await byOneRequest(tab.page, path)
      ratios.push(once / (await byPage(tab, path)))
    }
    for (let round = 0; round < rounds; round += 1) stopped.push(await cancel(tab, large))
    await browser.close()
    await server.end('SIGTERM')
    return { mib: size, rate: waits(ratios), ratios, stoppedMs: waits(stopped) }
  },
  { secondsMax: 600 },
)
