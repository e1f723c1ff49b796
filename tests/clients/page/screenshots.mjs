// The pictures of the README, taken of a server and a worker that do what they show:
//
//     node page/screenshots.mjs SERVER_BINARY WORKER_PYTHON FOLDER

import { execFileSync, spawn } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'

import { launch } from '../lib/browser.mjs'
import { eventually, MIB } from '../lib/file.mjs'
import { scenario } from '../lib/scenario.mjs'
import { Server } from '../lib/server.mjs'
import { Tab } from './lib/tab.mjs'

const [binary, python, folder] = process.argv.slice(2)
if (folder === undefined) {
  console.error(`usage: node ${process.argv[1]} SERVER_BINARY WORKER_PYTHON FOLDER`)
  process.exit(2)
}

const TALL = { width: 1180, height: 1010 }
const WINDOW = { width: 1180, height: 800 }
const PHONE = { width: 360, height: 740 }
const EXPECTED = [{ url: /\/files\//, text: /status of 410/ }]

/** Draws images as of a microscope. */
function draw(into, count) {
  return Array.from({ length: count }, (_, at) => {
    const path = join(into, `well-${String(at + 1).padStart(2, '0')}.png`)
    execFileSync(python, ['-m', 'tidegate_worker.examples.cells', path, '--seed', `${at + 1}`])
    return path
  })
}

/** A file that costs no disk before it is sent. */
async function hollow(path, size) {
  const file = await open(path, 'w')
  await file.truncate(size)
  await file.close()
  return path
}

async function choose(tab, paths) {
  await tab.page.locator('input[type=file]').first().setInputFiles(paths)
}

/** Uploads in all states: sent, on its way, cancelled by somebody else. */
async function uploads(tab, work, server) {
  const { page, devtools } = tab
  const throughput = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 6 * MIB }
  await devtools.send('Network.emulateNetworkConditions', throughput)
  const sizes = { 'plate-7.tif': 220, 'time-lapse.nd2': 380, 'wrong-plate.czi': 90 }
  for (const [name, size] of Object.entries(sizes)) await choose(tab, [await hollow(join(work, name), size * MIB)])
  await page
    .getByRole('row', { name: /wrong-plate/ })
    .first()
    .getByText('MB/s')
    .waitFor()
  const { data } = await (await fetch(`http://${server.address}/api/projects/default/uploads?state=uploading`)).json()
  const { id } = data.find(({ filename }) => filename === 'wrong-plate.czi')
  await eventually(async () => {
    const { data } = await (await fetch(`http://${server.address}/api/uploads/${id}`)).json()
    return data.offset > 8 * MIB
  })
  await fetch(`http://${server.address}/api/uploads/${id}/cancel`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ reason: 'this is plate 8' }),
  })
  await page.getByRole('cell', { name: 'cancelled by somebody else: this is plate 8' }).waitFor()
  await page
    .getByRole('row', { name: /time-lapse/ })
    .first()
    .getByText('MB/s')
    .waitFor()
}

/** A notice that happens to be there would be in the way. */
async function shoot(page, name, type = 'png') {
  await eventually(async () => (await page.getByRole('button', { name: 'Dismiss' }).count()) === 0)
  const path = join(folder, type === 'png' ? `${name}.png` : `${name}.jpg`)
  await page.screenshot({ path, type, quality: type === 'png' ? undefined : 82, animations: 'disabled' })
}

async function openPanel(page, name) {
  await page.getByRole('link', { name }).click()
  await page.getByRole('heading', { level: 1 }).first().waitFor()
}

async function images(page) {
  await openPanel(page, 'Images')
  await page.getByRole('checkbox', { name: 'Select all pictures shown' }).check()
  await page
    .getByRole('button', { name: /^Segment/ })
    .and(page.getByText('selected'))
    .click()
  await eventually(async () => (await page.getByText('segmented', { exact: true }).count()) >= 5)
  await shoot(page, 'images', 'jpeg')
  await eventually(async () => (await page.getByText('segmented', { exact: true }).count()) >= 10)
  await page
    .getByRole('button', { name: /well-03/ })
    .first()
    .click()
  await page.getByText('Mean area').waitFor()
  await shoot(page, 'outlines', 'jpeg')
  await page.keyboard.press('Escape')
}

async function exported(page) {
  await openPanel(page, 'Export')
  const start = page.getByRole('button', { name: 'Export', exact: true })
  await start.click()
  await page.getByRole('button', { name: /^Download/ }).waitFor()
  await shoot(page, 'export')
}

await mkdir(folder, { recursive: true })
await scenario(async (work) => {
  const server = new Server({ binary, dataDir: join(work, 'data') })
  await server.start()
  const worker = spawn(python.replace(/python3?$/, 'tidegate-segment'), ['--server', `http://${server.address}`], {
    stdio: 'ignore',
  })
  process.on('exit', () => worker.kill())
  const browser = await launch()
  const context = await browser.newContext({ viewport: WINDOW })
  const tab = await Tab.open(context, `http://${server.address}/`, { expected: EXPECTED })
  const { page } = tab
  await choose(tab, draw(work, 10))
  await page.getByText('10 of 10 files uploaded').waitFor()
  await page.getByRole('button', { name: 'Clear finished' }).click()
  await images(page)
  await exported(page)
  await openPanel(page, 'Events')
  await page.getByText('export.completed').first().click()
  await shoot(page, 'events')
  await openPanel(page, 'Project')
  await shoot(page, 'project')
  await openPanel(page, 'Uploads')
  await page.setViewportSize(TALL)
  await uploads(tab, work, server)
  await shoot(page, 'uploads')
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.setViewportSize(PHONE)
  await shoot(page, 'phone')
  tab.sound()
  await browser.close()
  await server.end('SIGTERM')
  return { folder }
})
