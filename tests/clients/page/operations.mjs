// What others do is shown as it happens, with what stands still and what waits for its sender; several of them are
// cancelled at once, after it was said what that frees; and two thousand of them do not make the page slow.
//
//     node page/operations.mjs CREATION_URL DATA_DIR

import assert from 'node:assert/strict'

import { launch } from '../lib/browser.mjs'
import { eventually, KIB, MIB, noise } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { append, begin, create } from './lib/others.mjs'
import { Store } from './lib/store.mjs'
import { CUT, Tab, WIDE } from './lib/tab.mjs'

const MANY = 2000
const CREATED_AT_ONCE = 8
/** In milliseconds, from a click to what it does. */
const PROMPT = 500
/** In milliseconds, far less than a page waits for an event that does not come. */
const DEAF_MAX = 10_000

/** What a scenario has refused in the server's place. */
const BUSY = { url: /\/uploads\?/, text: /status of 503/ }
const REFUSED = { url: /\/api\/(queue|uploads)\//, text: /status of (403|429)/ }

await scenarioAt(async (endpoint) => {
  const store = new Store(endpoint, process.argv[3])
  const browser = await launch()
  try {
    const context = await browser.newContext({ viewport: WIDE })
    const tab = await Tab.open(context, store.origin)
    await live(tab, store)
    const bulk = await inBulk(tab, store)
    await named(tab, store)
    tab.sound()
    const fallback = await Tab.open(context, store.origin, {
      expected: [CUT],
      prepare: (opened) => opened.cutFeed({ websocket: true }),
    })
    await live(fallback, store)
    fallback.sound()
    await fallback.page.close()
    await deaf(context, store)
    await throttled(context, store)
    await unread(context, store)
    await ordered(context, store)
    const handledMs = await crowd(tab, store)
    tab.sound()
    return { bulk, handledMs }
  } finally {
    await browser.close()
  }
})

function show(tab, filter) {
  return tab.page.getByRole('combobox', { name: 'Show' }).selectOption(filter)
}

/** Uploads of others in every state that they can come to, none of which was there when the page was opened. */
async function live(tab, store) {
  const at = Date.now()
  const name = (what) => `${what}-${at}.bin`
  const bytes = noise('others')(MIB)
  const sending = await begin(store, name('sending'), { length: 4 * MIB, bytes })
  const left = await begin(store, name('left'), { length: 4 * MIB, bytes })
  const done = await create(store, name('done'), bytes.length)
  const ended = await create(store, name('ended'), bytes.length)
  for (const what of ['sending', 'left']) {
    await tab
      .operation(name(what))
      .filter({ hasText: /uploading25 %1\.05 MB of 4\.19 MB/ })
      .waitFor()
  }
  assert.equal((await append(store, done, 0, bytes)).status, 204)
  await store.post(`/api/uploads/${ended}/cancel`, { reason: 'by others' })
  left.leave()
  await tab.operation(name('left')).filter({ hasText: 'waiting for its sender' }).waitFor()
  await tab
    .operation(name('sending'))
    .filter({ hasText: /[3-9] s ago/ })
    .waitFor()
  await tab.operation(name('ended')).filter({ hasText: '“by others”' }).waitFor()
  await tab.operation(name('done')).waitFor({ state: 'detached' })
  await show(tab, 'completed')
  await tab
    .operation(name('done'))
    .filter({ hasText: /completed100 %/ })
    .waitFor()
  assert.equal(await tab.operation(name('ended')).count(), 0)
  await show(tab, 'Ended')
  await tab.operation(name('ended')).filter({ hasText: 'cancelled' }).waitFor()
  assert.equal(await tab.operation(name('sending')).count(), 0)
  await show(tab, 'uploading')
  await tab.operation(name('sending')).waitFor()
  await store.post(`/api/uploads/${left.id}/cancel`, { reason: 'left' })
  await store.post(`/api/uploads/${sending.id}/cancel`, { reason: 'over' })
  assert.equal((await sending.answered)?.status, 410)
  await tab.page.getByText('Nothing is in this state.').waitFor()
  await show(tab, 'All')
  for (const what of ['sending', 'left', 'done', 'ended']) await tab.operation(name(what)).waitFor()
  await show(tab, 'Active')
}

/** Some of several are selected; the page says what would be freed, asks, and cancels them and no others. */
async function inBulk(tab, store) {
  const names = Array.from({ length: 5 }, (_, n) => `bulk-${n}.bin`)
  const bytes = noise('bulk')(256 * KIB)
  const senders = []
  for (const name of names) senders.push(await begin(store, name, { length: MIB, bytes }))
  for (const name of names) await tab.operation(name).filter({ hasText: '262 kB of 1.05 MB' }).waitFor()
  const { page } = tab
  await page.getByRole('checkbox', { name: 'Select all' }).check()
  await page.getByRole('checkbox', { name: `Select ${names[4]}` }).uncheck()
  await page.getByRole('textbox', { name: 'Reason' }).fill('all of them')
  await tab.button('Cancel 4 selected').click()
  const dialog = page.getByRole('dialog', { name: 'Cancel these?' })
  await dialog.getByText('4 uploads: 1.05 MB are freed').waitFor()
  await dialog.getByText('Reason: “all of them”').waitFor()
  await dialog.getByRole('button', { name: 'Back' }).click()
  await dialog.waitFor({ state: 'detached' })
  assert.equal((await store.upload(senders[0].id)).state, 'uploading')
  await tab.button('Cancel 4 selected').click()
  await dialog.getByRole('button', { name: 'Cancel them' }).click()
  const told = page.getByText(/4 of 4 stopped in .* freed/)
  await told.waitFor()
  for (const [index, { id, answered }] of senders.slice(0, 4).entries()) {
    await tab.operation(names[index]).filter({ hasText: '“all of them”' }).waitFor()
    assert.equal((await answered).status, 410)
    await store.expectCancelled(id, 'all of them')
  }
  assert.equal((await store.upload(senders[4].id)).state, 'uploading')
  await page.getByRole('textbox', { name: 'Reason' }).fill('')
  await tab.operation(names[4]).getByRole('button').click()
  await tab.operation(names[4]).filter({ hasText: 'stopped in' }).waitFor()
  assert.equal((await senders[4].answered).status, 410)
  return await told.textContent()
}

/** Files of one name are told apart, and no name turns what is beside it. */
async function named(tab, store) {
  const { page } = tab
  const turned = 'turned\u202Egnp.bin'
  const ids = [
    await create(store, 'twin.bin', 10, 'one/twin.bin'),
    await create(store, 'twin.bin', 10, 'two/twin.bin'),
    await create(store, 'twin.bin', 10),
    await create(store, 'turned.bin', 10, `three/${turned}`),
    await create(store, 'turned.bin', 10),
  ]
  for (const path of ['one/twin.bin', 'two/twin.bin', `three/${turned}`]) await tab.operation(path).waitFor()
  await tab
    .operation('twin.bin')
    .filter({ hasText: ids[2].slice(0, 8) })
    .waitFor()
  await page.locator('bdi').getByText(`three/${turned}`, { exact: true }).waitFor()
  await tab.operation('twin.bin').getByRole('button').click()
  await page.locator('.notice bdi').getByText('twin.bin', { exact: true }).waitFor()
  await store.post('/api/projects/default/uploads/cancel', { all: true })
}

/** Without a feed the answer is enough: what will not be told is not waited for. */
async function deaf(context, store) {
  const names = Array.from({ length: 5 }, (_, n) => `deaf-${n}.bin`)
  const ids = []
  for (const name of names) {
    const id = await create(store, name, MIB)
    assert.equal((await append(store, id, 0, noise('deaf')(100 * KIB))).status, 204)
    ids.push(id)
  }
  const tab = await Tab.open(context, store.origin, {
    expected: [CUT],
    prepare: (opened) => opened.cutFeed(),
    connection: 'trying again',
  })
  const { page } = tab
  for (const name of names) await tab.operation(name).waitFor()
  await page.getByRole('checkbox', { name: 'Select all' }).check()
  await tab.button('Cancel 5 selected').click()
  const begun = Date.now()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel them' }).click()
  await page.getByText(/^5 of 5 stopped in .* 512 kB freed$/).waitFor()
  assert.ok(Date.now() - begun < DEAF_MAX, `it took ${Date.now() - begun} ms`)
  for (const name of names) await tab.operation(name).filter({ hasText: 'stopped in' }).waitFor()
  for (const id of ids) assert.equal((await store.upload(id)).state, 'cancelled')
  assert.equal(await page.locator('.notice.bad').count(), 0)
  tab.sound()
  await page.close()
}

/** A server that counts calls is asked at its pace, and what it refuses for good is told as such. */
async function throttled(context, store) {
  const imageIds = []
  for (let n = 0; n < 12; n += 1) {
    const id = await create(store, `throttled-${n}.png`, 10)
    await append(store, id, 0, noise('throttled')(10))
    imageIds.push(id)
  }
  const tab = await Tab.open(context, store.origin, { expected: [REFUSED] })
  const { page } = tab
  // The name of an image that cannot be asked for is asked for once.
  let lookups = 0
  await page.route(`**/api/uploads/${imageIds[7]}`, async (route) => {
    lookups += 1
    await route.fulfill({ status: 403, json: { type: 'about:blank', code: 'X', title: 'Not this one', status: 403 } })
  })
  const { queueEntries } = await store.post('/api/queue/batch', { projectId: 'default', imageIds })
  let calls = 0
  let atOnce = 0
  let mostAtOnce = 0
  await page.route('**/api/queue/items/*/cancel', async (route) => {
    calls += 1
    atOnce += 1
    mostAtOnce = Math.max(mostAtOnce, atOnce)
    const problem = (code, title, status, headers) =>
      route.fulfill({ status, headers, json: { type: 'about:blank', code, title, status } })
    if (route.request().url().includes(queueEntries[3].id)) await problem('FORBIDDEN', 'Not this one', 403, {})
    else if (calls % 3 === 0) await problem('TOO_MANY_REQUESTS', 'Too many', 429, { 'Retry-After': '1' })
    else await route.fulfill({ response: await route.fetch() })
    atOnce -= 1
  })
  for (const { imageId } of queueEntries) {
    const name = imageId === imageIds[7] ? `Image ${imageId.slice(0, 8)}` : `throttled-${imageIds.indexOf(imageId)}.png`
    await tab.operation(name).filter({ hasText: 'queued' }).waitFor()
  }
  const unnamed = tab.operation(`Image ${imageIds[7].slice(0, 8)}`)
  await unnamed.filter({ hasText: /[3-9] s ago/ }).waitFor()
  assert.equal(lookups, 1)
  await page.getByRole('checkbox', { name: 'Select all' }).check()
  await tab.button('Cancel 12 selected').click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel them' }).click()
  await page.locator('.notice.good').getByText('11 of 12 stopped in').waitFor()
  await page.locator('.notice.bad').getByText('1 of 12 could not be cancelled: Not this one').waitFor()
  assert.ok(mostAtOnce <= 4, `${mostAtOnce} calls at once`)
  const states = await Promise.all(queueEntries.map(({ id }) => store.get(`/api/queue/items/${id}`)))
  assert.deepEqual(
    states.filter(({ state }) => state !== 'cancelled').map(({ id }) => id),
    [queueEntries[3].id],
  )
  await store.post(`/api/queue/items/${queueEntries[3].id}/cancel`, {})
  tab.sound()
  await page.close()
}

/** A list that is refused is read as soon as it may be, and not said to be empty; what is told meanwhile is shown. */
async function unread(context, store) {
  const bytes = noise('unread')(8 * MIB)
  const listed = await begin(store, 'unread.bin', { length: 16 * MIB, bytes })
  await eventually(async () => (await store.get('/api/projects/default/uploads?state=uploading')).length > 0)
  let refused = 0
  let isOpen = false
  const tab = await Tab.open(context, store.origin, {
    expected: [BUSY],
    prepare: ({ page }) =>
      page.route('**/api/projects/*/uploads?*', async (route) => {
        if (isOpen) return route.continue()
        refused += 1
        const json = { type: 'about:blank', code: 'UNAVAILABLE', title: 'Busy', status: 503 }
        await route.fulfill({ status: 503, headers: { 'Retry-After': refused <= 2 ? '1' : '600' }, json })
      }),
  })
  const { page } = tab
  await page.getByText('What runs in this project could not be read.').waitFor()
  await eventually(() => refused > 2)
  assert.equal(await page.getByText(/Nothing (runs|is running)/).count(), 0)
  // One that is known from the middle has the speed that it has, and not that of all that came before.
  const row = tab.operation('unread.bin')
  for (let sent = 1; !/B\/s/.test(await row.locator('.rate').allTextContents()); sent += 1) {
    listed.send(bytes.subarray(0, 10 * KIB))
    await row.filter({ hasText: ofAll(8 * MIB + sent * 10 * KIB) }).waitFor()
  }
  assert.match(await row.locator('.rate').textContent(), /^\d+(\.\d+)? kB\/s$/)
  isOpen = true
  const again = tab.button('Try again')
  await again.focus()
  await page.keyboard.press('Enter')
  await again.waitFor({ state: 'detached' })
  await page.getByText('1 running').waitFor()
  await eventually(() => page.evaluate(() => document.activeElement.id === 'operations-title'))
  await store.post(`/api/uploads/${listed.id}/cancel`, {})
  await listed.answered
  tab.sound()
  await page.close()
}

/** As the page shows how much of 16 MiB has arrived. */
function ofAll(received) {
  return `${(received / 1e6).toFixed(2)} MB of 16.8 MB`
}

/** What was there before is listed as the server lists it, the newest first, also beyond a page of it. */
async function ordered(context, store) {
  for (let n = 0; n < 150; n += 1) await create(store, `ordered-${n}.bin`, 10)
  const tab = await Tab.open(context, store.origin)
  const { page } = tab
  await page.getByText('150 running').waitFor()
  const shown = await page.getByRole('table', { name: 'Live operations' }).locator('.file-name').allTextContents()
  const list = await store.get('/api/projects/default/uploads?state=uploading&limit=100')
  assert.deepEqual(
    shown,
    list.map(({ filename }) => filename),
  )
  await store.post('/api/projects/default/uploads/cancel', { all: true })
  tab.sound()
  await page.close()
}

/** While two thousand uploads begin and end, the page does what it is told to. Gives the milliseconds of the slowest. */
async function crowd(tab, store) {
  const { page } = tab
  let begun = 0
  const work = async () => {
    while (begun < MANY) {
      begun += 1
      const isWhole = begun % 2 === 0
      const id = await create(store, `crowd-${begun}.bin`, 10)
      if (isWhole) await append(store, id, 0, noise('crowd')(10))
    }
  }
  const working = Promise.all(Array.from({ length: CREATED_AT_ONCE }, work))
  const all = page.getByRole('checkbox', { name: 'Select all' })
  await eventually(() => begun > 100)
  const handled = []
  while (begun < MANY) handled.push(await all.evaluate(clickAndPaint))
  await working
  await page.getByText('1000 running').waitFor()
  for (let more = 0; more < 10; more += 1) handled.push(await all.evaluate(clickAndPaint))
  assert.ok(Math.max(...handled) < PROMPT, `clicks took up to ${Math.max(...handled)} ms`)
  return { clicks: handled.length, slowest: Math.round(Math.max(...handled)) }
}

/** In the page: milliseconds from a click that waits its turn like any other to the frame that shows what it does. */
function clickAndPaint(box) {
  return new Promise((resolve) => {
    const begun = performance.now()
    const painted = () => requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun)))
    setTimeout(() => {
      box.click()
      painted()
    })
  })
}
