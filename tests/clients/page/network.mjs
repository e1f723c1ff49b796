// The network goes away in the middle of an upload and comes back, and so does the server: the page says so, goes on by
// itself, and misses nothing of what others did meanwhile.
//
//     node page/network.mjs --server BINARY

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { launch } from '../lib/browser.mjs'
import { eventually, MIB } from '../lib/file.mjs'
import { scenario } from '../lib/scenario.mjs'
import { Server } from '../lib/server.mjs'
import { create } from './lib/others.mjs'
import { make, Store } from './lib/store.mjs'
import { Tab, WIDE } from './lib/tab.mjs'

const SIZE = 16 * MIB
const RATE = 2 * MIB

/** What a browser says of requests that do not come through. */
const LOST = {
  url: /^http/,
  text: /ERR_(INTERNET_DISCONNECTED|CONNECTION|EMPTY_RESPONSE|INCOMPLETE|SOCKET|NETWORK|FAILED)/,
}

const { values: options } = parseArgs({ options: { server: { type: 'string' }, host: { type: 'string' } } })

await scenario(async (folder) => {
  const { server: binary, host } = options
  const dataDir = join(folder, 'data')
  const server = new Server({ binary, host, dataDir })
  await server.start()
  const store = new Store(server.endpoint, dataDir)
  const browser = await launch()
  try {
    const context = await browser.newContext({ viewport: WIDE })
    const tab = await Tab.open(context, store.origin, { expected: [LOST] })
    const off = await through(tab, store, await make(folder, 'offline.bin', SIZE), async () => {
      await tab.throttle(RATE, { offline: true })
      await tab.connected('Offline, trying again')
      const others = await meanwhile(store)
      await tab.throttle(RATE)
      return others
    })
    await nothingMissed(tab, off.result)
    const killed = await through(tab, store, await make(folder, 'killed.bin', SIZE), async () => {
      await server.end('SIGKILL')
      await tab.connected('Offline, trying again')
      await server.start()
      return meanwhile(store)
    })
    await nothingMissed(tab, killed.result)
    tab.sound()
    return { offline: off.figures, killed: killed.figures }
  } finally {
    await browser.close()
  }
})

/** Uploads a file, does that in the middle, and waits for the file's end. */
async function through(tab, store, file, interrupt) {
  const name = file.path.split('/').at(-1)
  await tab.throttle(RATE)
  await tab.choose(file.path)
  const id = await eventually(() => tab.sent.find((entry) => entry.name === name && entry.status === 201)?.id)
  await eventually(async () => (await store.upload(id)).offset > 0.3 * file.size)
  const result = await interrupt()
  const back = performance.now()
  await tab.connected('Live')
  await tab.throttle(0)
  const live = performance.now() - back
  const { length } = tab.sent
  await eventually(() => tab.sent.slice(length - 1).some(({ method, status }) => method === 'PATCH' && status === 204))
  const moved = performance.now() - back
  await tab.says(name, 'uploaded')
  const sent = tab.sent.filter((entry) => entry.id === id)
  assert.equal(sent.filter(({ method }) => method === 'POST').length, 1, tab.answers(id).join(', '))
  await store.expectSame(id, file)
  return { result, figures: { liveMs: Math.round(live), movedMs: Math.round(moved), answers: tab.answers(id) } }
}

/** Of others: one upload that stays, and one that is over before it was seen. */
async function meanwhile(store) {
  const at = Date.now()
  const [stays, ends] = [`stays-${at}.bin`, `ends-${at}.bin`]
  await create(store, stays, 1000)
  const id = await create(store, ends, 1000)
  await store.post(`/api/uploads/${id}/cancel`, { reason: 'unseen' })
  return { stays, ends }
}

async function nothingMissed(tab, { stays, ends }) {
  const filter = tab.page.getByRole('combobox', { name: 'Show' })
  await filter.selectOption('All')
  await tab.operation(stays).filter({ hasText: 'uploading' }).waitFor()
  await tab.operation(ends).filter({ hasText: 'cancelled' }).filter({ hasText: '“unseen”' }).waitFor()
  await filter.selectOption('Active')
}
