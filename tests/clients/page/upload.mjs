// The page uploads files and folders that are chosen or dropped, shows how far they are, and pauses and cancels them.
//
//     node page/upload.mjs CREATION_URL DATA_DIR

import assert from 'node:assert/strict'
import { appendFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { launch } from '../lib/browser.mjs'
import { eventually, KIB, MIB } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { make, Store } from './lib/store.mjs'
import { GONE, Tab, WIDE } from './lib/tab.mjs'

/** Files that a browser sends at once over HTTP/1.1. */
const AT_ONCE = 3

/** What is said of a file that changes while it is sent. */
const CHANGED = [
  { url: /\/files\//, text: /ERR_UPLOAD_FILE_CHANGED/ },
  { url: /\/assets\//, text: /The file has changed on the disk/ },
]

await scenarioAt(async (endpoint, folder) => {
  const store = new Store(endpoint, process.argv[3])
  const browser = await launch()
  try {
    const context = await browser.newContext({ viewport: WIDE })
    const tab = await Tab.open(context, store.origin, { expected: [GONE, ...CHANGED] })
    const files = await chosenAndDropped(tab, store, folder)
    const atOnce = await inParallel(tab, store, folder)
    const shown = await paused(tab, store, folder)
    const cancelled = await cancels(tab, store, folder)
    await changed(tab, folder)
    const tabs = await besides(tab, context, store, folder)
    tab.sound()
    return { files, atOnce, ...shown, cancelled, tabs }
  } finally {
    await browser.close()
  }
})

/** Files and a folder, both ways. Each arrives byte for byte under its own path. */
async function chosenAndDropped(tab, store, folder) {
  await mkdir(join(folder, 'plate', 'well'), { recursive: true })
  await mkdir(join(folder, 'dropped', 'in'), { recursive: true })
  const names = ['one.bin', 'zwei ü.bin', 'plate/a.bin', 'plate/well/b.bin', 'three.bin', 'dropped/in/c.bin']
  const files = {}
  for (const [index, name] of names.entries()) files[name] = await make(folder, name, 1 + index * 300 * KIB)
  const paths = names.map((name) => files[name].path)
  await tab.choose(paths.slice(0, 2))
  await tab.choose(join(folder, 'plate'), { folder: true })
  await tab.drop([paths[4], join(folder, 'dropped')])
  for (const name of names) await tab.says(name, 'uploaded')
  await tab.page.getByText(`${names.length} of ${names.length} files uploaded`).waitFor()
  const ids = await tab.ids(store.endpoint)
  assert.deepEqual(Object.keys(ids).sort(), [...names].sort())
  for (const name of names) await store.expectSame(ids[name], files[name])
  await tab.button('Clear finished').click()
  await tab.file(names[0]).waitFor({ state: 'detached' })
  return names.length
}

/** More files than are sent at once: never more than that many at a time, and all arrive. */
async function inParallel(tab, store, folder) {
  const names = Array.from({ length: 8 }, (_, n) => `parallel-${n}.bin`)
  const files = await Promise.all(names.map((name) => make(folder, name, MIB)))
  await tab.throttle(8 * MIB)
  await tab.choose(files.map(({ path }) => path))
  await tab.page.getByText(`${names.length} of ${names.length} files uploaded`).waitFor()
  const ids = await tab.ids(store.endpoint)
  for (const [index, name] of names.entries()) await store.expectSame(ids[name], files[index])
  await tab.button('Clear finished').click()
  assert.equal(tab.mostAtOnce, AT_ONCE)
  return tab.mostAtOnce
}

/** While a file is sent slowly its row tells how far, how fast and how long; a pause sends nothing, and nothing twice. */
async function paused(tab, store, folder) {
  const names = ['slow-0.bin', 'slow-1.bin']
  const files = await Promise.all(names.map((name) => make(folder, name, 24 * MIB)))
  await tab.throttle(MIB)
  await tab.choose(files.map(({ path }) => path))
  const [first, second] = names
  await tab.says(first, /sending.*of 25\.2 MB.*\d (kB|MB)\/s.*\d s/)
  const seen = await tab.file(first).textContent()
  await tab.button(`Pause ${first}`).click()
  await tab.says(first, 'paused')
  await still(tab, store, first)
  await tab.button(`Resume ${first}`).click()
  await tab.says(first, 'sending')
  await tab.button('Pause all').click()
  for (const name of names) await tab.says(name, 'paused')
  await Promise.all(names.map((name) => still(tab, store, name)))
  await tab.button(`Resume ${first}`).click()
  await tab.says(first, 'sending')
  // What is sent already is none of its business.
  await tab.button('Resume all').click()
  await tab.says(second, 'sending')
  await tab.throttle(0)
  const ids = await tab.ids(store.endpoint)
  for (const [index, name] of names.entries()) {
    await tab.says(name, 'uploaded')
    await store.expectSame(ids[name], files[index])
    assert.equal(tab.answers(ids[name]).filter((answer) => answer === 'POST 201').length, 1)
  }
  assert.equal(tab.mostOfOne, 1)
  await tab.button('Clear finished').click()
  return { shown: seen.replaceAll(/\s+/g, ' ') }
}

/** The server says that its sender went away, and nothing is sent any more. */
async function still(tab, store, name) {
  const id = (await tab.ids(store.endpoint))[name]
  await tab.operation(name).filter({ hasText: 'waiting for its sender' }).waitFor()
  const [sent, { offset }] = [tab.answers(id), await store.upload(id)]
  await tab.operation(name).filter({ hasText: 's ago' }).waitFor()
  assert.deepEqual(tab.answers(id), sent, 'sent while it is paused')
  assert.equal((await store.upload(id)).offset, offset)
}

/** One, and then all: what is cancelled is gone from the server, and what was uploaded stays. */
async function cancels(tab, store, folder) {
  const kept = await make(folder, 'kept.bin', KIB)
  const names = Array.from({ length: 5 }, (_, n) => `many-${n}.bin`)
  const files = await Promise.all(names.map((name) => make(folder, name, 24 * MIB)))
  await tab.choose([kept.path])
  await tab.says('kept.bin', 'uploaded')
  await tab.throttle(256 * KIB)
  await tab.choose(files.map(({ path }) => path))
  await tab.says(names[1], 'sending')
  const before = await tab.ids(store.endpoint)
  await tab
    .file(names[1])
    .getByRole('button', { name: `Cancel ${names[1]}` })
    .click()
  await tab.file(names[1]).waitFor({ state: 'detached' })
  await gone(store, before[names[1]])
  await tab.says(names[3], 'sending')
  const ids = await tab.ids(store.endpoint)
  await tab.button('Cancel all').click()
  for (const name of names) await tab.file(name).waitFor({ state: 'detached' })
  await tab.says('kept.bin', 'uploaded')
  const cancelled = names.filter((name) => name in ids)
  for (const name of cancelled) await gone(store, ids[name])
  await store.expectSame(ids['kept.bin'], kept)
  await tab.page.getByText('Nothing runs').waitFor()
  return cancelled.length
}

/** A file that changes on the disk while it is sent: that is told, and nothing of it is taken for the file. */
async function changed(tab, folder) {
  const { path } = await make(folder, 'changed.bin', 20 * MIB)
  await tab.throttle(4 * MIB)
  await tab.choose(path)
  await tab.says('changed.bin', 'sending')
  await appendFile(path, 'more')
  await tab.says('changed.bin', 'The file has changed on the disk. Choose it again.')
  await tab.says('changed.bin', 'failed')
  await tab.file('changed.bin').getByRole('button', { name: 'Cancel' }).click()
  await tab.throttle(0)
}

/** Two tabs share the connections: together they send no more than one would, and a cancel gets through. */
async function besides(tab, context, store, folder) {
  const tabs = [tab, await Tab.open(context, store.origin)]
  for (const [index, one] of tabs.entries()) {
    const names = Array.from({ length: AT_ONCE }, (_, n) => `shared-${index}-${n}.bin`)
    const files = await Promise.all(names.map((name) => make(folder, name, 9 * MIB)))
    await one.throttle(MIB / 2)
    await one.choose(files.map(({ path }) => path))
  }
  const [first, second] = ['shared-0-0.bin', 'shared-0-1.bin']
  for (const name of [first, second]) await tab.says(name, 'sending')
  const ids = await tab.ids(store.endpoint)
  const begun = performance.now()
  await tab.file(first).getByRole('button', { name: 'Cancel' }).click()
  await tabs[1].operation(second).getByRole('button', { name: 'Cancel' }).click()
  for (const name of [first, second])
    await eventually(async () => (await store.upload(ids[name])).state === 'cancelled')
  const cancelledInMs = Math.round(performance.now() - begun)
  assert.ok(isUnderWay(tab, 'shared-0-2.bin'), 'a cancel has waited for what is sent beside it')
  await tabs[1].says('shared-1-0.bin', 'sending')
  const running = await eventually(async () => {
    const count = await store.metric('tidegate_appends_running')
    assert.ok(count <= AT_ONCE, `${count} at once`)
    return count === AT_ONCE && count
  })
  const opening = performance.now()
  const third = await Tab.open(context, store.origin)
  const openedInMs = Math.round(performance.now() - opening)
  assert.ok(isUnderWay(tab, 'shared-0-2.bin'), 'a page has waited for what others send')
  for (const one of tabs) await one.button('Cancel all').click()
  for (const one of [tabs[1], third]) {
    one.sound()
    await one.page.close()
  }
  return { running, cancelledInMs, openedInMs }
}

/** Whether the first bytes of a file are still being sent. */
function isUnderWay(tab, name) {
  const { id } = tab.sent.find((entry) => entry.name === name)
  const patches = tab.sent.filter((entry) => entry.id === id && entry.method === 'PATCH')
  return patches.length === 1 && patches[0].status === undefined
}

async function gone(store, id) {
  await eventually(async () => (await store.upload(id)).state === 'cancelled')
  await store.expectCancelled(id, undefined)
}
