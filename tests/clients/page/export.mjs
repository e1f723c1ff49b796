// A project is exported as it was chosen; one that is under way is cancelled, one that is done is downloaded. What is
// told meanwhile is shown, as far as it is asked for, and with a place from which everybody misses nothing.
//
//     node page/export.mjs CREATION_URL DATA_DIR

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { launch } from '../lib/browser.mjs'
import { eventually, KIB, MIB, noise } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { append, create } from './lib/others.mjs'
import { Store } from './lib/store.mjs'
import { Tab, WIDE } from './lib/tab.mjs'

/** Of one large image: an archive of it takes long enough to be cancelled. */
const LARGE = 192 * MIB
const ATTEMPTS = 10

await scenarioAt(async (endpoint, folder) => {
  const store = new Store(endpoint, process.argv[3])
  const browser = await launch()
  try {
    const context = await browser.newContext({ viewport: WIDE })
    const tab = await Tab.open(context, store.origin)
    await image(store, 'small.png', noise('small')(300 * KIB))
    const downloaded = await whole(tab, store, folder)
    await events(tab, store)
    await image(store, 'large.png', Buffer.alloc(LARGE))
    const cancelled = await cut(tab, store)
    tab.sound()
    return { downloaded, cancelled }
  } finally {
    await browser.close()
  }
})

async function image(store, name, bytes) {
  const id = await create(store, name, bytes.length)
  assert.equal((await append(store, id, 0, bytes)).status, 204)
  return id
}

/** With other options than those that are proposed. The download is the archive, and sound. */
async function whole(tab, store, folder) {
  const { page } = tab
  await tab.go('Export')
  const content = ['The images themselves', 'COCO', 'CSV']
  for (const name of content) await page.getByRole('checkbox', { name }).uncheck()
  await tab.button('Export').click()
  await page.getByRole('alert').filter({ hasText: 'Choose at least one of these.' }).waitFor()
  await page.getByRole('checkbox', { name: content[0] }).check()
  await page.getByRole('group', { name: 'Measurements' }).getByRole('checkbox', { name: 'JSON' }).check()
  await page.getByRole('checkbox', { name: 'Measurements: JSON', exact: true }).waitFor()
  await page.getByRole('checkbox', { name: 'Outlines of what was found: JSON', exact: true }).waitFor()
  const name = page.getByRole('textbox', { name: 'Name of the archive' })
  const title = await name.inputValue()
  await name.fill('  ')
  await tab.button('Export').click()
  await page.getByText(`${title} is ready to be downloaded.`).waitFor()
  await name.fill('Plate ü')
  await tab.button('Export').click()
  await page.getByText('Plate ü is ready to be downloaded.').waitFor()
  const begun = page.waitForEvent('download')
  await tab.button('Download Plate ü').click()
  const path = join(folder, 'archive.zip')
  await (await begun).saveAs(path)
  execFileSync('unzip', ['-tqq', path])
  const names = execFileSync('unzip', ['-Z1', path]).toString()
  assert.match(names, /small\.png/)
  const [archive] = await store.get('/api/projects/default/export/history')
  const url = new URL(`/api/projects/default/export/${archive.id}/download`, store.endpoint).href
  const bytes = execFileSync('curl', ['-sSf', url], { maxBuffer: MIB })
  assert.ok(bytes.equals(await readFile(path)), 'curl downloads something else')
  return { bytes: bytes.length, names: names.trim().split('\n') }
}

/** Begins until one is cancelled before it is done: nothing of it is left. */
async function cut(tab, store) {
  const { page } = tab
  await tab.go('Export')
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const name = `Cut ${attempt}`
    const kept = (await archives(store)).length
    await page.getByRole('textbox', { name: 'Name of the archive' }).fill(name)
    await tab.button('Export').click()
    const one = page.getByRole('article', { name })
    // It may be done before it is clicked.
    const cancel = one.getByRole('button', { name: `Cancel ${name}` })
    await Promise.race([cancel.click(), one.waitFor({ state: 'detached' })]).catch(() => {})
    const ended = await eventually(async () => {
      const [last] = await store.get('/api/projects/default/export/history')
      return last.projectName === name && ['completed', 'cancelled'].includes(last.state) && last
    })
    if (ended.state === 'completed') continue
    const told = page.getByText(`${name}: stopped in`)
    await told.waitFor()
    const row = page.getByRole('row').filter({ hasText: name }).filter({ hasText: 'cancelled' })
    await row.waitFor()
    assert.equal(await row.getByRole('button').count(), 0)
    assert.equal((await archives(store)).length, kept, 'something of the archive is left')
    return { attempt, told: (await told.textContent()).replace(`${name}: `, '') }
  }
  return assert.fail('no export was cancelled before it was done')
}

async function archives(store) {
  const all = await readdir(join(store.dataDir, 'archives'), { recursive: true, withFileTypes: true })
  return all.filter((one) => one.isFile())
}

/** What was told is listed by its type; the cursor is the place behind it; and what is held back comes later. */
async function events(tab, store) {
  const { page } = tab
  await tab.go('Events')
  const filter = page.getByRole('searchbox', { name: 'Only types that contain' })
  const listed = (type) => tab.button(`The whole of ${type}`)
  await listed('export.completed').first().waitFor()
  await filter.fill('upload.*')
  await listed('export.completed').waitFor({ state: 'detached' })
  await listed('upload.created').first().click()
  await page.getByText('"filename": "small.png"').waitFor()
  await filter.fill('*pl*d.*ed')
  await listed('upload.created').first().waitFor()
  // However many parts there are, the page does not think about it for long.
  await filter.fill(`${'*'.repeat(40)}x`)
  await page.getByText('No event is of such a type.').waitFor({ timeout: 2000 })
  await filter.fill('nothing')
  await page.getByText('No event is of such a type.').waitFor()
  await filter.fill('')
  await tab.button('Clear').click()
  await tab.button('Hold').click()
  const cursor = await settled(page, store)
  await create(store, 'held-back.bin', 10)
  await page.getByText(/1 event held back/).waitFor()
  assert.equal(await listed('upload.created').count(), 0)
  await tab.button('Go on').click()
  await listed('upload.created').waitFor()
  // Whoever goes on from there is told exactly that.
  const next = await firstAfter(store, cursor)
  assert.equal(next.data.filename, 'held-back.bin')
}

/** The cursor that the page shows, once it is the place where the feed is now. */
async function settled(page, store) {
  const shown = page.getByRole('definition').filter({ has: page.getByRole('button', { name: 'Copy: Cursor' }) })
  const leaving = new AbortController()
  const answer = await fetch(new URL('/api/events?projectId=default', store.endpoint), { signal: leaving.signal })
  const now = answer.headers.get('Tidegate-Cursor')
  leaving.abort()
  await eventually(async () => (await shown.getByText(now).count()) > 0)
  return now
}

/** The first event behind a place. */
async function firstAfter(store, cursor) {
  const url = new URL('/api/events?projectId=default', store.endpoint)
  url.searchParams.set('after', cursor)
  const leaving = new AbortController()
  const answer = await fetch(url, { headers: { Accept: 'text/event-stream' }, signal: leaving.signal })
  let text = ''
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    text += piece
    const found = text.match(/^data: ?(.*)\n/m)
    if (found) return JSON.parse(found[1])
  }
  return assert.fail('the feed has ended')
}
