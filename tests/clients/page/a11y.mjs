// The page is for everybody: nothing for axe-core to find on any of its tabs, in its dialogs and on the page for signing
// in, in light and in dark, on a telephone and on a desk; nothing that jumps; and all of it by keyboard.
//
//     node page/a11y.mjs --server BINARY

import assert from 'node:assert/strict'
import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { launch } from '../lib/browser.mjs'
import { eventually, KIB, MIB } from '../lib/file.mjs'
import { scenario } from '../lib/scenario.mjs'
import { Server } from '../lib/server.mjs'
import { accessible, fits, noteShifts, steady } from './lib/access.mjs'
import { begin, create } from './lib/others.mjs'
import { make, Store } from './lib/store.mjs'
import { GONE, Tab, WIDE } from './lib/tab.mjs'

const NARROW = { width: 360, height: 740 }
const LARGEST = 64 * MIB

/** What the browser says of a file that the server does not take. */
const TOO_LARGE = { url: /\/uploads$/, text: /status of 413/ }
const REFUSED = { url: /\/assets\//, text: /The limit is/ }
/** Nothing was found in it yet. */
const NO_RESULT = { url: /\/result$/, text: /status of 404/ }
const UNAUTHORIZED = { url: /\/api\//, text: /status of 401/ }

/** A picture of one pixel. */
const PIXEL = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)

const TABS = [
  ['Uploads', 'Upload'],
  ['Images', 'Images'],
  ['Export', 'Export'],
  ['Events', 'Events'],
  ['Project', /./],
]

/** What has come once a tab is whole. */
const SETTLED = {
  Images: (page) => page.getByRole('button', { name: 'Open pixel.png' }).waitFor(),
  Export: (page) => page.getByRole('button', { name: /^Download / }).waitFor(),
  Events: (page) => page.getByRole('button', { name: 'The whole of upload.created' }).first().waitFor(),
  Project: (page) => page.getByText('Nobody. Invite somebody').waitFor(),
}

const DIALOGS = {
  Uploads: [
    [
      'the bulk cancel',
      async (page) => {
        await page.getByRole('combobox', { name: 'Show' }).selectOption('All')
        await page.getByRole('checkbox', { name: 'Select all' }).check()
        await page.getByRole('button', { name: /^Cancel \d+ selected$/ }).click()
      },
    ],
  ],
  Images: [['an image', (page) => page.getByRole('button', { name: 'Open pixel.png' }).click()]],
  Project: [['a deletion', (page) => page.getByRole('button', { name: 'Delete this project' }).click()]],
}

const { values: options } = parseArgs({ options: { server: { type: 'string' }, host: { type: 'string' } } })

await scenario(async (folder) => {
  const browser = await launch()
  try {
    const open = await start(folder, 'open', ['--max-upload-size', String(LARGEST)])
    const secret = join(folder, 'secret')
    await writeFile(secret, 'a secret that is only for this test, and is long enough')
    const guarded = await start(folder, 'guarded', ['--auth', 'jwt', '--jwt-secret-file', secret])
    const shifted = await steadily(browser, open, folder)
    await byKeyboard(browser, open, folder)
    await signedOut(browser, guarded)
    const looks = await everywhere(browser, open, folder)
    return { shifted, looks }
  } finally {
    await browser.close()
  }
})

async function start(folder, name, flags) {
  const dataDir = join(folder, name)
  const server = new Server({ binary: options.server, host: options.host, dataDir, flags })
  await server.start()
  return new Store(server.endpoint, dataDir)
}

/** While the page is loaded and sends a file, what is on it stays where it is. */
async function steadily(browser, store, folder) {
  const shifted = []
  for (const viewport of [NARROW, WIDE]) {
    const context = await browser.newContext({ viewport })
    const prepare = (opened) => opened.page.addInitScript(noteShifts)
    const tab = await Tab.open(context, store.origin, { prepare })
    const loaded = await steady(tab.page, `loading at ${viewport.width}`)
    const name = `steady-${viewport.width}.bin`
    await tab.throttle(MIB)
    await tab.choose((await make(folder, name, 3 * MIB)).path)
    await tab.says(name, 'sending')
    await tab.throttle(0)
    await tab.says(name, 'uploaded')
    shifted.push(loaded, await steady(tab.page, `uploading at ${viewport.width}`))
    tab.sound()
    await context.close()
  }
  return shifted.map((value) => Number(value.toFixed(4)))
}

/** Everything on the tab for uploads is reached with the key Tab, and does what it is for with Enter and Space. */
async function byKeyboard(browser, store, folder) {
  const context = await browser.newContext({ viewport: WIDE })
  const tab = await Tab.open(context, store.origin)
  const { page } = tab
  const press = (key) => page.keyboard.press(key)
  const opened = page.waitForEvent('filechooser')
  await focus(page, 'browse files')
  await press('Enter')
  await tab.throttle(64 * KIB)
  const names = ['keys-0.bin', 'keys-1.bin']
  const files = await Promise.all(names.map((name) => make(folder, name, 8 * MIB)))
  await (await opened).setFiles(files.map(({ path }) => path))
  for (const name of names) await tab.says(name, 'sending')
  for (const name of names) await tab.operation(name).waitFor()
  const [there, reached] = await reach(page)
  const missed = there.filter((one) => !reached.includes(one))
  assert.deepEqual(missed, [], 'not reached by the key Tab')
  for (const name of names) {
    await focus(page, `Pause ${name}`)
    await press('Enter')
    await tab.says(name, 'paused')
    assert.equal(await focused(page), `Resume ${name}`, 'where the focus is after a pause')
    await press('Space')
    await tab.says(name, 'sending')
    assert.equal(await focused(page), `Pause ${name}`, 'where the focus is when it goes on')
  }
  for (const name of names) {
    await focus(page, `Cancel ${name}`)
    await press('Enter')
    await tab.operation(name).filter({ hasText: 'cancelled' }).waitFor()
    await kept(page, `a cancel of ${name}`)
  }
  await selectAndCancel(tab, store)
  await cleared(tab, folder)
  await narrow(tab, store)
  tab.sound()
  await context.close()
}

/** Two of somebody else's, with a reason, and with second thoughts. */
async function selectAndCancel(tab, store) {
  const { page } = tab
  for (const name of ['others-0.bin', 'others-1.bin']) await create(store, name, 1000)
  await tab.operation('others-1.bin').waitFor()
  await focus(page, 'Reason')
  await page.keyboard.type('with keys')
  await focus(page, 'Select others-0.bin')
  await page.keyboard.press('Space')
  const selected = 'Cancel 1 selected'
  await focus(page, selected)
  await page.keyboard.press('Enter')
  const dialog = page.getByRole('dialog')
  await dialog.waitFor()
  assert.ok(await dialog.evaluate((element) => element.contains(document.activeElement)), 'the focus is in the dialog')
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  assert.equal(await focused(page), selected, 'where the focus is after the dialog')
  await page.keyboard.press('Enter')
  await focus(page, 'Cancel them')
  await page.keyboard.press('Enter')
  await tab.operation('others-0.bin').filter({ hasText: '“with keys”' }).waitFor()
  await focus(page, 'Cancel others-1.bin')
  await page.keyboard.press('Enter')
  await tab.operation('others-1.bin').filter({ hasText: 'stopped in' }).waitFor()
  await eventually(() => page.evaluate(() => /others-1\.bin/.test(document.activeElement.textContent)))
  await tab.operation('others-1.bin').waitFor({ state: 'detached' })
  await kept(page, 'the row of a cancel is gone')
}

/** What is uploaded is taken from the list, one by one and all at once. */
async function cleared(tab, folder) {
  const { page } = tab
  await tab.throttle(0)
  const names = ['keys-2.bin', 'keys-3.bin', 'keys-4.bin']
  const files = await Promise.all(names.map((name) => make(folder, name, KIB)))
  await tab.choose(files.map(({ path }) => path))
  for (const name of names) await tab.says(name, 'uploaded')
  await focus(page, `Remove ${names[0]} from the list`)
  await page.keyboard.press('Enter')
  await tab.file(names[0]).waitFor({ state: 'detached' })
  await kept(page, 'one is removed from the list')
  await focus(page, 'Clear finished')
  await page.keyboard.press('Enter')
  await tab.file(names[1]).waitFor({ state: 'detached' })
  await kept(page, 'the list is cleared')
}

/** On a telephone whatever the key Tab comes to is seen. */
async function narrow(tab, store) {
  const { page } = tab
  const name = 'others-2.bin'
  const id = await create(store, name, 1000)
  await tab.operation(name).waitFor()
  await page.setViewportSize(NARROW)
  await focus(page, 'Select all shown')
  const box = page.getByRole('checkbox', { name: 'Select all shown' })
  assert.ok(await box.evaluate(isSeen), 'Select all is not seen')
  await page.keyboard.press('Space')
  await tab.button('Cancel 1 selected').waitFor()
  await store.post(`/api/uploads/${id}/cancel`, {})
  await page.setViewportSize(WIDE)
}

/** In the page: whether it is what is at its place on the screen. */
function isSeen(element) {
  const { x, y, width, height } = element.getBoundingClientRect()
  return width > 4 && document.elementFromPoint(x + width / 2, y + height / 2) === element
}

/** Fails if the focus is nowhere once the page has been drawn again. */
async function kept(page, what) {
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))))
  const at = await page.evaluate(() => document.activeElement.tagName)
  assert.notEqual(at, 'BODY', `the focus is nowhere after ${what}`)
}

/** Presses Tab, once round the page at most, until the focus is on what has this name. */
async function focus(page, name) {
  for (let presses = 0; presses < 100; presses += 1) {
    await page.keyboard.press('Tab')
    if ((await focused(page)) === name) return
  }
  assert.fail(`${name} is not reached by the key Tab`)
}

/** The name of what has the focus. */
function focused(page) {
  return page.evaluate(() => {
    const { activeElement: element } = document
    return element.ariaLabel ?? element.labels?.[0]?.textContent ?? element.textContent
  })
}

/** Everything that can be used with a pointer, and everything that the key Tab comes to, in one round. */
async function reach(page) {
  const there = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
    const usable = all.filter(
      (one) => !one.disabled && one.checkVisibility({ visibilityProperty: true }) && one.offsetWidth,
    )
    window.named = (one) => `${one.tagName} ${one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent}`
    return usable.map(window.named)
  })
  const reached = []
  for (let presses = 0; presses < 2 * there.length; presses += 1) {
    await page.keyboard.press('Tab')
    reached.push(await page.evaluate(() => window.named(document.activeElement)))
  }
  return [there, reached]
}

async function signedOut(browser, store) {
  const context = await browser.newContext({ viewport: WIDE })
  const prepare = (opened) => opened.page.addInitScript(noteShifts)
  const tab = await Tab.open(context, store.origin, { prepare, expected: [UNAUTHORIZED], isSignedOut: true })
  await inEveryLook(tab.page, 'signed out', async (what) => {
    await accessible(tab.page, what)
    await fits(tab.page, what)
  })
  await tab.page.getByRole('textbox', { name: 'Token' }).fill('not.a.token')
  await tab.button('Sign in').click()
  await tab.page.getByRole('alert').filter({ hasText: /\w/ }).waitFor()
  await accessible(tab.page, 'a token that is refused')
  tab.sound()
  await context.close()
}

async function inEveryLook(page, what, look) {
  for (const viewport of [WIDE, NARROW]) {
    await page.setViewportSize(viewport)
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      await look(`${what}, ${colorScheme}, ${viewport.width}`)
    }
  }
}

/** Every tab and dialog, with rows in all states. */
async function everywhere(browser, store, folder) {
  const context = await browser.newContext({ viewport: WIDE })
  const tab = await Tab.open(context, store.origin, { expected: [GONE, TOO_LARGE, REFUSED, NO_RESULT] })
  const image = await fill(tab, store, folder)
  const { page } = tab
  let looks = 0
  await inEveryLook(page, 'the page', async (what) => {
    const look = async (name) => {
      await accessible(page, `${what}, ${name}`)
      await fits(page, `${what}, ${name}`)
      looks += 1
    }
    for (const [name, heading] of TABS) {
      await page.getByRole('navigation', { name: 'Panels' }).getByRole('link', { name, exact: true }).click()
      await page.getByRole('heading', { name: heading, level: 1 }).waitFor()
      await SETTLED[name]?.(page)
      await look(name)
      for (const [dialog, open] of DIALOGS[name] ?? []) {
        await open(page, image)
        await page.getByRole('dialog').waitFor()
        await look(dialog)
        await page.keyboard.press('Escape')
        await page.getByRole('dialog').waitFor({ state: 'detached' })
      }
    }
  })
  tab.sound()
  await context.close()
  return looks
}

/** Rows in all states that there are without a worker. */
async function fill(tab, store, folder) {
  const { page } = tab
  const file = (name, size) => make(folder, name, size).then(({ path }) => path)
  const pixel = join(folder, 'pixel.png')
  await writeFile(pixel, PIXEL)
  const large = join(folder, 'too-large.bin')
  await writeFile(large, '')
  await truncate(large, LARGEST + 1)
  await tab.choose([await file('done.bin', KIB), pixel])
  await tab.says('pixel.png', 'uploaded')
  const image = tab.sent.find(({ name }) => name === 'pixel.png').id
  await store.post(`/api/queue/images/${image}`, {})
  await store.post('/api/projects/default/export', { options: { includeOriginalImages: true }, projectName: 'Default' })
  await tab.choose([large])
  await tab.says('too-large.bin', 'failed')
  await tab.throttle(64 * KIB)
  const names = ['sent.bin', 'held.bin', 'ended.bin', 'waiting-0.bin', 'waiting-1.bin']
  await tab.choose(await Promise.all(names.map((name) => file(name, 16 * MIB))))
  await tab.says('ended.bin', 'sending')
  await tab.button('Pause held.bin').click()
  await tab.operation('ended.bin').getByRole('button').click()
  await tab.says('ended.bin', 'cancelled')
  const others = await begin(store, 'interrupted.bin', { length: MIB, bytes: PIXEL })
  await tab.operation('interrupted.bin').waitFor()
  others.leave()
  await tab.operation('interrupted.bin').filter({ hasText: 'waiting for its sender' }).waitFor()
  await page.getByRole('textbox', { name: 'Reason' }).fill('a reason')
  return image
}
