// Cancels files that a page is sending from another one, again and again, at random moments: half of them by its
// button, half by the call behind it. The sender shows it with the reason, and neither sends on nor begins anew; with
// its feed, and then without, so that only the answer to a PATCH tells.
//
//     node page/remote.mjs CREATION_URL DATA_DIR [ROUNDS]

import assert from 'node:assert/strict'
import { link, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

import { launch } from '../lib/browser.mjs'
import { waits } from '../lib/cancel.mjs'
import { eventually, MIB } from '../lib/file.mjs'
import { scenarioAt } from '../lib/scenario.mjs'
import { Store } from './lib/store.mjs'
import { CUT, GONE, Tab, WIDE } from './lib/tab.mjs'

const rounds = Number(process.argv[4] ?? 100)

/** As many as a browser sends at once. */
const AT_ONCE = 3
/** Chosen at a time: the others wait. */
const CHOSEN = 12
/** Too large for the browser to keep a copy, and never sent to its end. */
const SIZE = 1100 * MIB
/** Bytes per second of all of them. What is told by the answer alone is told when its request has been sent. */
const RATE = { told: 8 * MIB, cut: 12 * MIB }
/** Milliseconds from when the canceller shows a file. */
const LATEST = 400

/** There is one field for the reason, so only one at a time is clicked. */
let turn = Promise.resolve()

await scenarioAt(async (endpoint, folder) => {
  const store = new Store(endpoint, process.argv[3])
  const source = join(folder, 'source.bin')
  await writeFile(source, '')
  await truncate(source, SIZE)
  const browser = await launch()
  try {
    const canceller = await open(browser, store, noteClicks)
    const seen = {}
    let round = 0
    for (const mode of ['told', 'cut']) {
      const sender = mode === 'told' ? await open(browser, store, noteShown) : await openCut(browser, store)
      await sender.throttle(RATE[mode])
      const until = mode === 'told' ? Math.ceil(0.6 * rounds) : rounds
      const all = []
      for (; round < until; round += CHOSEN) {
        const names = Array.from({ length: Math.min(CHOSEN, until - round) }, (_, n) => `${mode}-${round + n}.bin`)
        all.push(...(await cancelAll({ sender, canceller, store, folder, source, names })))
      }
      round = until
      await check({ sender, store, all })
      sender.sound()
      seen[mode] = figures(all)
    }
    canceller.sound()
    assert.deepEqual(canceller.sent, [])
    return { rounds, ...seen }
  } finally {
    await browser.close()
  }
})

async function open(browser, store, note, options) {
  const context = await browser.newContext({ viewport: WIDE })
  const prepare = async (tab) => {
    await tab.page.addInitScript(note)
    await options?.prepare(tab)
  }
  return Tab.open(context, store.origin, { connection: 'Live', expected: [GONE], ...options, prepare })
}

/** A page that hears nothing from the feed, in neither of its forms. */
function openCut(browser, store) {
  const prepare = (tab) => tab.cutFeed()
  return open(browser, store, noteShown, { prepare, expected: [GONE, CUT], connection: 'trying again' })
}

/** In the page: when which button was clicked. */
function noteClicks() {
  window.clicked = {}
  const note = ({ target }) => {
    window.clicked[target.closest('button')?.ariaLabel] = Date.now()
  }
  addEventListener('click', note, { capture: true })
}

/** In the page: when which reason was shown first. */
function noteShown() {
  window.shown = {}
  const look = () => {
    for (const row of document.querySelectorAll('tr')) {
      const [, reason] = row.textContent.match(/cancelled by somebody else: (wrong \S+)/) ?? []
      if (reason !== undefined) window.shown[reason] ??= Date.now()
    }
  }
  addEventListener('DOMContentLoaded', () =>
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true }),
  )
}

/** Chooses some files, and cancels each while it is sent, every other one by the button. */
async function cancelAll({ sender, canceller, store, folder, source, names }) {
  const paths = names.map((name) => join(folder, name))
  for (const path of paths) await link(source, path)
  const taken = new Set(sender.created())
  const until = taken.size + names.length
  await sender.choose(paths)
  const all = []
  const take = () => {
    const id = sender.created().find((created) => !taken.has(created))
    if (id !== undefined) taken.add(id)
    return id
  }
  const work = async () => {
    for (;;) {
      const id = await eventually(() => take() ?? (taken.size === until && 'none'))
      if (id === 'none') return
      const { name } = sender.sent.find((entry) => entry.id === id)
      all.push(await cancelOne({ sender, canceller, store, id, name, isClicked: taken.size % 2 === 0 }))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  await sender.button('Clear finished').click()
  return all
}

async function cancelOne({ sender, canceller, store, id, name, isClicked }) {
  const reason = `wrong ${name}`
  const operation = canceller.operation(name)
  await operation.filter({ hasText: 'uploading' }).waitFor()
  await setTimeout(Math.random() * LATEST)
  const { begun, stopped } = isClicked ? await click(canceller, name, reason) : await call(store, id, reason)
  await sender.says(name, `cancelled by somebody else: ${reason}`)
  await operation
    .filter({ hasText: `“${reason}”` })
    .filter({ hasText: 'B freed' })
    .waitFor()
  const shownAt = await sender.page.evaluate((why) => window.shown[why], reason)
  return { id, name, reason, shownAt, shown: shownAt - begun, stopped }
}

async function click(canceller, name, reason) {
  const operation = canceller.operation(name)
  const label = `Cancel ${name}`
  const clickedAt = () => canceller.page.evaluate((button) => window.clicked[button], label)
  const clicking = turn.then(async () => {
    await canceller.page.getByRole('textbox', { name: 'Reason' }).fill(reason)
    // A row that moves between the press and the release of the mouse makes it no click at all: then again.
    await eventually(async () => {
      await operation.getByRole('button', { name: label }).click()
      return clickedAt()
    })
  })
  turn = clicking
  await clicking
  const words = /stopped in (\S+) (m?s),/
  await operation.filter({ hasText: words }).waitFor()
  const begun = await clickedAt()
  const [, count, unit] = (await operation.textContent()).match(words)
  return { begun, stopped: [Number(count) * (unit === 's' ? 1000 : 1)] }
}

async function call(store, id, reason) {
  const begun = Date.now()
  await store.post(`/api/uploads/${id}/cancel`, { reason })
  return { begun, stopped: [] }
}

/** Of all of them, when it is over: what was sent, and what the server has. */
async function check({ sender, store, all }) {
  assert.equal(sender.sent.filter(({ method }) => method === 'POST').length, all.length, 'creations')
  assert.equal(new Set(sender.created()).size, all.length, 'an upload was created twice')
  const events = await store.events()
  for (const { id, name, reason, shownAt } of all) {
    await store.expectCancelled(id, reason, events)
    const sent = sender.sent.filter((entry) => entry.id === id)
    const answers = `${name}: ${sender.answers(id).join(', ')}`
    // Not even asked for with HEAD: nothing is tried again.
    assert.ok(
      sent.slice(1).every(({ method }) => method === 'PATCH'),
      answers,
    )
    assert.ok(
      sent.slice(0, -1).every(({ status }) => [201, 204].includes(status)),
      answers,
    )
    assert.ok([201, 204, 410, 'net::ERR_ABORTED'].includes(sent.at(-1).status), answers)
    assert.ok(
      sent.every(({ at }) => at <= shownAt),
      `${answers}: sent after it was shown`,
    )
  }
}

function figures(all) {
  return { stoppedMs: waits(all.flatMap(({ stopped }) => stopped)), shownMs: waits(all.map(({ shown }) => shown)) }
}
