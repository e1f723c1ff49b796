// Images are shown small, segmented with what was chosen, and shown large with what was found; a cancel while a worker
// is at one stops it and leaves what was found before.
//
//     node page/images.mjs CREATION_URL DATA_DIR WORKER_PYTHON

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { launch } from '../lib/browser.mjs'
import { eventually } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Store } from './lib/store.mjs'
import { Tab, WIDE } from './lib/tab.mjs'
import { draw, work } from './lib/worker.mjs'

const NAMES = ['cells-0.png', 'cells-1.png', 'cells-2.tif']
const [FIRST] = NAMES

/** Nothing was ever found in it. */
const NO_RESULT = { url: /\/result$/, text: /status of 404/ }

await scenarioAt(async (endpoint, folder) => {
  const [dataDir, python] = process.argv.slice(3)
  const store = new Store(endpoint, dataDir)
  const paths = draw(python, folder, NAMES)
  const browser = await launch()
  try {
    const context = await browser.newContext({ viewport: WIDE })
    const tab = await Tab.open(context, store.origin, { expected: [NO_RESULT] })
    await tab.choose(paths)
    for (const name of NAMES) await tab.says(name, 'uploaded')
    const ids = await tab.ids(store.endpoint)
    const quick = await work(python, store)
    await tab.go('Images')
    for (const name of NAMES) await pictured(tab, name)
    const found = await segment(tab, store, ids[FIRST])
    const drawn = await outlines(tab, found)
    await failed(tab, folder)
    await quick.end()
    const slow = await work(python, store, '--slow', '600')
    const stoppedIn = await cancelled(tab, store, ids[FIRST])
    const several = await cancelSeveral(tab, store, Object.values(ids))
    assert.deepEqual(await store.get(`/api/images/${ids[FIRST]}/result`), found, 'what was found before')
    await slow.end()
    tab.sound()
    return { objects: found.polygons.length, drawn, stoppedIn, several }
  } finally {
    await browser.close()
  }
})

/** There is a small picture of it, and not just its place. */
async function pictured(tab, name) {
  const picture = tab.button(`Open ${name}`).locator('img')
  await picture.waitFor()
  await eventually(() => picture.evaluate((image) => image.complete && image.naturalWidth > 0))
}

/** With another model and threshold than those that are proposed. */
async function segment(tab, store, id) {
  const { page } = tab
  await page.getByRole('combobox', { name: 'Model' }).selectOption('local')
  await page.getByRole('slider', { name: 'Threshold' }).press('ArrowRight')
  await tab.button(`Segment: ${FIRST}`).click()
  await state(tab, FIRST, 'segmented')
  const result = await store.get(`/api/images/${id}/result`)
  assert.equal(result.model, 'local')
  assert.equal(result.threshold, 0.55)
  assert.ok(result.polygons.length > 0)
  return result
}

async function state(tab, name, words) {
  const tile = tab.page.getByRole('listitem').filter({ has: tab.button(`Open ${name}`) })
  await tile.getByText(words, { exact: true }).waitFor()
}

/** What cannot be segmented says why; what is no picture is not proposed to be segmented. */
async function failed(tab, folder) {
  const { page } = tab
  // Their kind is a part of the name.
  const opener = (name) => page.getByRole('button', { name: `Open ${name}` })
  await tab.go('Uploads')
  const [broken, notes] = [join(folder, 'broken.png'), join(folder, 'notes.txt')]
  await Promise.all([broken, notes].map((path) => writeFile(path, 'no picture at all')))
  await tab.choose([broken, notes])
  for (const name of ['broken.png', 'notes.txt']) await tab.says(name, 'uploaded')
  await tab.go('Images')
  await opener('notes.txt').waitFor()
  assert.equal(await tab.button('Segment: notes.txt').count(), 0)
  await page.getByRole('checkbox', { name: 'Select all pictures shown' }).check()
  assert.equal(await page.getByRole('checkbox', { name: 'Select notes.txt' }).isChecked(), false)
  await page.getByRole('checkbox', { name: 'Select all pictures shown' }).uncheck()
  await tab.button('Segment: broken.png').click()
  const tile = page.getByRole('listitem').filter({ has: opener('broken.png') })
  await tile.getByText('failed', { exact: true }).waitFor()
  for (const isReloaded of [false, true]) {
    if (isReloaded) await page.reload()
    await opener('broken.png').click()
    const dialog = page.getByRole('dialog', { name: 'broken.png' })
    await dialog.getByText(/^It failed: \w/).waitFor()
    await page.keyboard.press('Escape')
    assert.match(await tile.locator('.tile-failure').getAttribute('title'), /\w/)
  }
  await opener('notes.txt').click()
  // What is said while a dialog is open is said in it, and can be taken away.
  const dialog = page.getByRole('dialog', { name: 'notes.txt' })
  await dialog.getByRole('button', { name: 'Segment: notes.txt' }).click()
  await dialog.getByText(/^It failed: \w/).waitFor()
  await page.keyboard.press('Escape')
}

/** In large, with outlines and without: pixels differ, and there are as many outlines as were found. */
async function outlines(tab, { polygons }) {
  const { page } = tab
  await tab.button(`Open ${FIRST}`).click()
  const dialog = page.getByRole('dialog', { name: FIRST })
  const objects = polygons.filter(({ type }) => type === 'external').length
  const canvas = dialog.getByRole('img', { name: `with the outlines of ${objects} object` })
  await canvas.waitFor()
  const show = dialog.getByRole('checkbox', { name: 'Show outlines' })
  const colours = await eventually(() => canvas.evaluate(countColours))
  assert.ok(colours.outlines > 0, JSON.stringify(colours))
  await show.uncheck()
  await eventually(async () => (await canvas.evaluate(countColours))?.outlines === 0)
  await show.check()
  await eventually(async () => (await canvas.evaluate(countColours))?.outlines > 0)
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  return colours
}

/** In the page: how many different pixels there are, and how many of the colour of outlines; none while it is empty. */
function countColours(canvas) {
  const { width, height } = canvas
  if (width === 0 || height === 0) return null
  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height)
  const all = new Set(new Uint32Array(data.buffer))
  let outlines = 0
  // Light blue, which no microscope's picture has.
  for (let at = 0; at < data.length; at += 4) if (data[at + 2] > data[at] + 100) outlines += 1
  return all.size > 1 ? { different: all.size, outlines } : null
}

/** Once more, with a slow worker, in the viewer, which shows what is told meanwhile. */
async function cancelled(tab, store, id) {
  await tab.button(`Open ${FIRST}`).click()
  const dialog = tab.page.getByRole('dialog', { name: FIRST })
  await dialog.getByRole('button', { name: `Segment again: ${FIRST}` }).click()
  await dialog.getByText('processing', { exact: true }).waitFor()
  await dialog.getByRole('button', { name: `Cancel the segmentation of ${FIRST}` }).click()
  const told = dialog.getByText(new RegExp(`^${FIRST}: stopped in`))
  await told.waitFor()
  const words = await told.textContent()
  await dialog.getByText('segmented', { exact: true }).waitFor()
  await dialog.getByRole('button', { name: 'Dismiss' }).click()
  await told.waitFor({ state: 'detached' })
  await tab.page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  const [item] = await store.get(`/api/queue/projects/default/items?imageId=${id}`)
  assert.equal(item.state, 'cancelled')
  assert.equal(item.how, 'worker')
  return words.replace(`${FIRST}: `, '')
}

/** All of them, in the table of what runs. */
async function cancelSeveral(tab, store, ids) {
  const { page } = tab
  for (const name of NAMES) await page.getByRole('checkbox', { name: `Select ${name}` }).check()
  await tab.button(`Segment ${ids.length} selected`).click()
  await page.getByText(new RegExp(`^${ids.length} images on the way to be segmented`)).waitFor()
  await tab.go('Uploads')
  // The one that was cancelled just now is still there.
  const begun = { hasText: /^Segmentation.*(queued|processing)/ }
  for (const name of NAMES) await tab.operation(name).filter(begun).waitFor()
  await tab.page.getByRole('row').filter({ hasText: 'processing' }).waitFor()
  await page.getByRole('checkbox', { name: 'Select all' }).check()
  await tab.button(`Cancel ${ids.length} selected`).click()
  const dialog = page.getByRole('dialog', { name: 'Cancel these?' })
  await dialog.getByText(`${ids.length} images on the way to be segmented: earlier results stay`).waitFor()
  await dialog.getByRole('button', { name: 'Cancel them' }).click()
  const told = page.getByText(`${ids.length} of ${ids.length} stopped in`)
  await told.waitFor()
  for (const id of ids) {
    const [item] = await store.get(`/api/queue/projects/default/items?imageId=${id}`)
    assert.equal(item.state, 'cancelled')
  }
  return told.textContent()
}
