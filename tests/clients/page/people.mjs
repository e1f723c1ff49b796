// Two users of a server that asks who they are: each signs in with a token, which is kept nowhere; they share a project,
// see each other's uploads in it, and cancel what is theirs to cancel, until it is no longer shared.
//
//     node page/people.mjs --server BINARY

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { launch } from '../lib/browser.mjs'
import { eventually, KIB, MIB } from '../lib/file.mjs'
import { scenario } from '../lib/scenario.mjs'
import { Server } from '../lib/server.mjs'
import { make } from './lib/store.mjs'
import { GONE, Tab, WIDE } from './lib/tab.mjs'

/** Before somebody has signed in, what is not his to do, and what is no longer his to see. */
const REFUSED = { url: /\/api\//, text: /status of (401|403|404)/ }

const GONE_WORDS = 'This project is gone, or is not shared with you.'

/** What a scenario provokes by itself. */
const EXPIRED = { url: /\/files\//, text: /status of 401/ }

const { values: options } = parseArgs({ options: { server: { type: 'string' }, host: { type: 'string' } } })

await scenario(async (folder) => {
  const { server: binary, host } = options
  const secret = join(folder, 'secret')
  await writeFile(secret, 'a secret that is only for this test, and is long enough', { mode: 0o600 })
  const flags = ['--auth', 'jwt', '--jwt-secret-file', secret]
  const server = new Server({ binary, host, dataDir: join(folder, 'data'), flags })
  await server.start()
  const token = (user) => execFileSync(binary, ['token', '--user', user, ...flags], { encoding: 'utf8' }).trim()
  const browser = await launch()
  try {
    const ann = await visit(browser, server, 'ann', token('ann'))
    await begin(ann, await make(folder, 'first.bin', 300 * KIB))
    await forgotten(ann)
    const [goesOn, left] = await Promise.all(['goes-on.bin', 'left.bin'].map((name) => make(folder, name, 12 * MIB)))
    await expired(ann, goesOn)
    await replaced(ann, { ...ann, user: 'bob', token: token('bob') }, left)
    const bob = await visit(browser, server, 'bob', token('bob'))
    await share(ann, bob)
    const files = await Promise.all(['of-ann.bin', 'of-bob.bin'].map((name) => make(folder, name, 8 * MIB)))
    await together(ann, bob, files)
    await apart(ann, bob)
    for (const { tab } of [ann, bob]) tab.sound()
    return { annSent: ann.tab.created().length, bobSent: bob.tab.created().length }
  } finally {
    await browser.close()
  }
})

/** Opens the page, which asks for a token and takes no other than a good one. */
async function visit(browser, server, user, token) {
  const context = await browser.newContext({ viewport: WIDE })
  const url = new URL('/', server.endpoint).href
  const tab = await Tab.open(context, url, { expected: [REFUSED, GONE, EXPIRED], isSignedOut: true })
  await tab.page.getByRole('textbox', { name: 'Token' }).fill(`${token}x`)
  await tab.button('Sign in').click()
  await tab.page.getByRole('alert').filter({ hasText: /\w/ }).waitFor()
  const person = { tab, user, token, context, origin: url }
  await signIn(person)
  return person
}

async function signIn({ tab, user, token }) {
  const { page } = tab
  await page.getByRole('textbox', { name: 'Token' }).fill(token)
  await tab.button('Sign in').click()
  await page.getByText(`Signed in as ${user}`).waitFor()
}

/** A project of her own, and a file in it, which arrives as it was. */
async function begin({ tab, token, origin }, file) {
  const { page } = tab
  await page.getByRole('heading', { name: 'You have no project yet.' }).waitFor()
  await page.getByRole('textbox', { name: 'Title' }).fill('Cells')
  await tab.button('Create').click()
  await tab.go('Uploads')
  await tab.ready()
  await tab.choose(file.path)
  await tab.says('first.bin', 'uploaded')
  const [id] = tab.created()
  const answer = await fetch(new URL(`/files/${id}`, origin), { headers: { Authorization: `Bearer ${token}` } })
  const bytes = Buffer.from(await answer.arrayBuffer())
  assert.equal(createHash('sha256').update(bytes).digest('hex'), file.sha256)
  assert.equal((await fetch(new URL(`/files/${id}`, origin))).status, 401)
}

/** The token is nowhere but in the page, and gone with it. */
async function forgotten(person) {
  const { tab, context, token } = person
  const kept = await tab.page.evaluate(everythingKept)
  assert.match(kept, /tidegate/, 'what the page keeps')
  for (const part of token.split('.')) assert.ok(!kept.includes(part), 'a part of the token is kept')
  assert.deepEqual(await context.cookies(), [])
  await tab.page.reload()
  await tab.page.getByRole('heading', { name: 'Sign in' }).waitFor()
  assert.equal(await tab.page.getByRole('textbox', { name: 'Token' }).inputValue(), '')
  await signIn(person)
  await tab.ready()
}

/** In the page: all that it has put down, as text. */
async function everythingKept() {
  const found = [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), location.href]
  const settled = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error)
    })
  for (const { name } of await indexedDB.databases()) {
    const database = await settled(indexedDB.open(name))
    for (const store of database.objectStoreNames) {
      const rows = await settled(database.transaction(store).objectStore(store).getAll())
      found.push(JSON.stringify(rows))
    }
    database.close()
  }
  return found.join('\n')
}

/** A login that is good no longer: the page asks for another one, and its uploads wait for it. */
async function expired(ann, file) {
  const { tab } = ann
  await untilRefused(ann, file, 'goes-on.bin')
  assert.equal(await tab.page.getByText('could not be uploaded').count(), 0)
  await signIn(ann)
  await tab.says('goes-on.bin', 'uploaded')
  assert.equal(tab.sent.filter(({ name }) => name === 'goes-on.bin').length, 1)
}

/** Somebody else signs in instead: nothing goes on in his name, and nothing is lost for whom it is. */
async function replaced(ann, other, file) {
  const { tab } = ann
  await untilRefused(ann, file, 'left.bin')
  const { length } = tab.sent
  await signIn(other)
  await tab.page.getByRole('heading', { name: 'You have no project yet.' }).waitFor()
  await tab.button('Sign out').click()
  await tab.page.getByRole('textbox', { name: 'Token' }).fill('two\nlines')
  await tab.button('Sign in').click()
  await tab.page.getByRole('alert').filter({ hasText: 'This is no token.' }).waitFor()
  assert.equal(tab.sent.length, length)
  await signIn({ ...ann, token: `Bearer ${ann.token}\n` })
  await tab.go('Uploads')
  await tab.says('left.bin', 'uploaded')
  assert.equal(tab.sent.filter(({ name }) => name === 'left.bin').length, 1)
  await tab.throttle(0)
}

/** Sends a file until its next request is refused. */
async function untilRefused({ tab }, { path }, name) {
  await tab.throttle(4 * MIB)
  await tab.choose(path)
  await tab.says(name, 'sending')
  const allow = await tab.refuseUploads()
  await tab.page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await allow()
}

async function share(ann, bob) {
  await ann.tab.go('Project')
  await ann.tab.page.getByRole('textbox', { name: 'User or e-mail address' }).fill('bob')
  await ann.tab.button('Invite').click()
  await ann.tab.page.getByText('bob is invited, and sees').waitFor()
  const { page } = bob.tab
  // It is told on no feed that he follows.
  await page.evaluate(() => dispatchEvent(new Event('focus')))
  await bob.tab.button('Accept the invitation to “Cells”').click()
  await page.getByText('“Cells” is among your projects now.').waitFor()
  await ann.tab.page.getByRole('listitem').filter({ hasText: 'bob' }).getByText('member', { exact: true }).waitFor()
  for (const { tab } of [ann, bob]) {
    await tab.go('Uploads')
    await tab.ready()
  }
  const project = page.getByRole('combobox', { name: 'Project' })
  assert.match(await project.textContent(), /Cells \(shared with you\)/)
}

/** Each sees what the other one sends. The owner may cancel all of it; a member what is his. */
async function together(ann, bob, [ofAnn, ofBob]) {
  const people = [
    [ann.tab, ofAnn],
    [bob.tab, ofBob],
  ]
  for (const [tab, { path }] of people) {
    await tab.throttle(256 * KIB)
    await tab.choose(path)
  }
  for (const [tab] of people) {
    for (const name of ['of-ann.bin', 'of-bob.bin'])
      await tab.operation(name).filter({ hasText: 'uploading' }).waitFor()
  }
  await bob.tab.operation('of-ann.bin').getByRole('button', { name: 'Cancel' }).click()
  const notices = bob.tab.page.getByRole('region', { name: 'Notices' })
  await notices.getByText(/\w/).first().waitFor()
  await ann.tab.page.getByRole('textbox', { name: 'Reason' }).fill('wrong plate')
  await ann.tab.operation('of-bob.bin').getByRole('button', { name: 'Cancel' }).click()
  await ann.tab.operation('of-bob.bin').filter({ hasText: 'stopped in' }).waitFor()
  await bob.tab.says('of-bob.bin', 'cancelled by somebody else: wrong plate')
  await ann.tab.throttle(0)
  await ann.tab.says('of-ann.bin', 'uploaded')
}

/** What is taken back is gone from his page at once, and nothing else takes its place before he says so. */
async function apart(ann, bob) {
  await ann.tab.go('Project')
  await named(ann)
  await ann.tab.button('Remove bob').click()
  await ann.tab.page.getByText('bob no longer has access.').waitFor()
  const { page } = bob.tab
  await page.getByRole('heading', { name: 'You have no project yet.' }).waitFor()
  await page.getByText(GONE_WORDS).waitFor()
  assert.equal(await page.getByRole('status', { name: 'Connection to the server' }).count(), 0)
  assert.equal(await page.getByRole('navigation').count(), 0)
  await lost(bob)
  await bob.tab.button('Sign out').click()
  await bob.tab.page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await eventually(async () => (await bob.tab.page.getByText('Signed in as').count()) === 0)
}

/** The address says which project it is, and the title too. */
async function named({ tab: { page } }) {
  await page.waitForFunction((title) => document.title === title, 'Project · Cells – Tidegate')
  assert.match(page.url(), /#\/project\?project=[0-9a-f-]{36}$/)
}

/** With one of his own, a project that is not his is not shown as it. */
async function lost({ tab, token, origin }) {
  const { page } = tab
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
  const body = JSON.stringify({ title: 'Own' })
  const answer = await fetch(new URL('/api/projects', origin), { method: 'POST', headers, body })
  assert.equal(answer.status, 201)
  const { id } = (await answer.json()).data
  await page.evaluate(() => dispatchEvent(new Event('focus')))
  await page.getByRole('heading', { name: GONE_WORDS }).waitFor()
  assert.equal(await tab.button('browse files').isVisible(), false)
  await page.getByRole('link', { name: 'Open “Own”' }).click()
  await tab.ready()
  await page.waitForFunction((title) => document.title === title, 'Uploads · Own – Tidegate')
  await page.evaluate((hash) => location.replace(hash), `#/transfers?project=${crypto.randomUUID()}`)
  await page.getByRole('heading', { name: GONE_WORDS }).waitFor()
  assert.equal(await tab.button('browse files').isVisible(), false)
  await page.evaluate((hash) => location.replace(hash), `#/transfers?project=${id}`)
  await tab.ready()
}
