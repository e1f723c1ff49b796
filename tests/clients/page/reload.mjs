// A page that is reloaded in the middle goes on with the same uploads, from where they were; one whose file the
// browser has not kept asks for it; and a second tab leaves them to the first.
//
//     node page/reload.mjs CREATION_URL DATA_DIR

import assert from 'node:assert/strict'

import { launch } from '../lib/browser.mjs'
import { eventually, MIB } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { make, Store } from './lib/store.mjs'
import { Tab, WIDE } from './lib/tab.mjs'

const SIZE = 12 * MIB
/** Slow enough for everything that is done meanwhile, also on a busy machine. */
const RATE = MIB

await scenarioAt(async (endpoint, folder) => {
  const store = new Store(endpoint, process.argv[3])
  const browser = await launch()
  try {
    const context = await browser.newContext({ viewport: WIDE })
    const tab = await Tab.open(context, store.origin)
    const share = await goesOn(tab, store, await make(folder, 'reloaded.bin', SIZE))
    const asked = await asksAgain(tab, store, await make(folder, 'asked.bin', SIZE))
    await staysDone(tab, folder)
    const file = await make(folder, 'tabs.bin', SIZE)
    const tabs = await leavesAlone(tab, await Tab.open(context, store.origin), store, file)
    tab.sound()
    return { sentOfOne: share, sentOfAsked: asked, sentOfTabs: tabs }
  } finally {
    await browser.close()
  }
})

/** Reloads twice. Gives how much was sent, as a share of the file. */
async function goesOn(tab, store, file) {
  const before = await received(store)
  await tab.throttle(RATE)
  await tab.choose(file.path)
  await tab.reached('reloaded.bin', 0.25)
  const [id] = tab.created()
  for (const share of [0.3, 0.6]) {
    await eventually(async () => (await store.upload(id)).offset > share * file.size)
    await tab.reload()
    await tab.says('reloaded.bin', 'sending')
  }
  await tab.throttle(0)
  await tab.says('reloaded.bin', 'uploaded')
  await onceFromWhereItWas(tab, store, id, file)
  return (await sentSince(store, before)) / file.size
}

/** As for a file that is too large to be kept by the browser: only what it is called is known after the reload. */
async function asksAgain(tab, store, file) {
  const before = await received(store)
  await tab.throttle(RATE)
  await tab.choose(file.path)
  await tab.reached('asked.bin', 0.3)
  const id = tab.created().at(-1)
  await tab.page.evaluate(forgetBlobs)
  await tab.reload()
  await tab.says('asked.bin', 'choose the file again to go on')
  const { length } = tab.answers(id)
  await tab.operation('asked.bin').filter({ hasText: 's ago' }).waitFor()
  assert.equal(tab.answers(id).length, length, 'sent without the file')
  await tab.throttle(0)
  await tab.choose(file.path)
  await tab.says('asked.bin', 'uploaded')
  await onceFromWhereItWas(tab, store, id, file)
  return (await sentSince(store, before)) / file.size
}

/** What has arrived is not asked for, however soon after that the page is reloaded; and the next file is no worse off. */
async function staysDone(tab, folder) {
  for (const name of ['done-0.bin', 'done-1.bin', 'done-2.bin']) {
    await tab.choose((await make(folder, name, 1000)).path)
    await tab.says(name, 'uploaded')
    await tab.reload()
    await eventually(async () => {
      const texts = await tab.file(name).allTextContents()
      return texts.every((text) => text.includes('uploaded'))
    })
  }
}

/** Runs in the page. */
function forgetBlobs() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('uppy-blobs')
    opening.onerror = reject
    opening.onsuccess = () => {
      const forgetting = opening.result.transaction(['files'], 'readwrite')
      forgetting.objectStore('files').clear()
      forgetting.onabort = reject
      forgetting.oncomplete = () => {
        opening.result.close()
        resolve()
      }
    }
  })
}

/** A second tab opens, and both are reloaded, while the first one sends. */
async function leavesAlone(tab, other, store, file) {
  const before = await received(store)
  await tab.throttle(RATE)
  await tab.choose(file.path)
  await tab.reached('tabs.bin', 0.2)
  const id = tab.created().at(-1)
  await other.reload()
  await other.operation('tabs.bin').filter({ hasText: 'uploading' }).waitFor()
  await tab.reload()
  await other.reload()
  await tab.throttle(0)
  await tab.says('tabs.bin', 'uploaded')
  assert.equal(await other.page.getByRole('table', { name: 'Files on their way' }).count(), 0)
  assert.deepEqual(other.sent, [])
  other.sound()
  await onceFromWhereItWas(tab, store, id, file)
  return (await sentSince(store, before)) / file.size
}

/** One creation, no answer that refuses, and after each HEAD the PATCH is from the place that it told. */
async function onceFromWhereItWas(tab, store, id, file) {
  const sent = tab.sent.filter((entry) => entry.id === id)
  const answers = tab.answers(id).join(', ')
  assert.equal(sent.filter(({ method }) => method === 'POST').length, 1, answers)
  assert.ok(
    sent.every(({ status }) => [201, 204, 200, 'left', 'net::ERR_ABORTED'].includes(status)),
    answers,
  )
  const offsets = sent.filter(({ method }) => method === 'PATCH').map(({ offset }) => offset)
  assert.deepEqual(
    offsets,
    offsets.toSorted((a, b) => a - b),
    answers,
  )
  await store.expectSame(id, file)
}

function received(store) {
  return store.metric('tidegate_upload_received_bytes_total')
}

async function sentSince(store, before) {
  const sent = (await received(store)) - before
  assert.ok(sent < 1.5 * SIZE, `${sent} bytes were sent for ${SIZE}`)
  return sent
}
