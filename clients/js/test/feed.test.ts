import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type FeedOptions, type FeedState, type Subscription, Tidegate, type TidegateEvent } from '@tidegate/client'
import { cleanup } from './support/cleanup.ts'
import { eventually, Log } from './support/log.ts'
import { Relay } from './support/relay.ts'
import { login, Server, secretFile } from './support/server.ts'
import { create } from './support/uploads.ts'

interface Followed extends Subscription {
  events: Log<TidegateEvent>
  states: Log<FeedState>
  gaps: Log<string | undefined>
}

function follow(test: TestContext, client: Tidegate, options: Partial<FeedOptions> = {}): Followed {
  const events = new Log<TidegateEvent>()
  const states = new Log<FeedState>()
  const gaps = new Log<string | undefined>()
  const subscription = client.subscribe({
    projectId: 'default',
    onEvent: events.push,
    onState: states.push,
    onGap: () => gaps.push(states.last?.status),
    ...options,
  })
  cleanup(test, () => subscription.close())
  return Object.assign(subscription, { events, states, gaps })
}

const isLive = ({ status }: FeedState) => status === 'live'
const isEnded = ({ status }: FeedState) => status === 'ended'
const count = (length: number) => (all: unknown[]) => all.length >= length

/** That each event came once, in order, and none is missing. */
function assertDense(events: TidegateEvent[], from = 1): void {
  const sequences = events.flatMap(({ sequence }) => sequence ?? [])
  assert.deepEqual(
    sequences,
    sequences.map((_, index) => String(index + from)),
  )
}

test('tells what happens, from now on or from a place', async (t) => {
  const { client, url } = await Server.of(t)
  await create(url)
  const feed = follow(t, client)
  await feed.states.find(isLive)
  const id = await create(url)
  await client.cancelUpload(id, 'wrong file')
  const { data } = await feed.events.find(({ type }) => type === 'upload.cancelled')
  assert.deepEqual([data.id, data.reason], [id, 'wrong file'])
  assert.deepEqual(
    feed.events.all.map(({ type }) => type),
    ['upload.created', 'upload.cancelling', 'upload.cancelled'],
  )
  assertDense(feed.events.all, 2)
  assert.deepEqual(feed.gaps.all, [])

  const cursor = await feed.states.until((all) =>
    all.map((state) => state.cursor).find((place) => place?.endsWith('=2')),
  )
  const rest = follow(t, client, { after: cursor, types: ['upload.cancelled'] })
  await rest.events.until(count(1))
  assert.equal(rest.events.all[0]?.sequence, '4')
})

test('ends at once when it is closed or its signal says so', async (t) => {
  const { client, url } = await Server.of(t)
  const feed = follow(t, client)
  const controller = new AbortController()
  const other = follow(t, client, { signal: controller.signal })
  await Promise.all([feed.states.find(isLive), other.states.find(isLive)])
  feed.close()
  feed.close()
  controller.abort()
  for (const { state, states, events } of [feed, other]) {
    assert.deepEqual([state.status, state.problem], ['ended', undefined])
    assert.equal(states.all.filter(isEnded).length, 1)
    assert.equal(events.all.length, 0)
  }
  const witness = follow(t, client, { after: '0' })
  await create(url)
  await witness.events.until(count(1))
  assert.equal(feed.events.all.length + other.events.all.length, 0)
  assert.equal(follow(t, client, { signal: controller.signal }).state.status, 'ended')
})

test('outlives what the app throws', async (t) => {
  const { client, url } = await Server.of(t)
  const reports = t.mock.method(console, 'error', () => {})
  const seen = new Log<TidegateEvent>()
  const feed = follow(t, client, {
    after: '0',
    onEvent(event) {
      seen.push(event)
      throw new Error('of the app')
    },
  })
  await create(url)
  await create(url)
  await seen.until(count(2))
  assertDense(seen.all)
  assert.equal(reports.mock.callCount(), 2)
  assert.equal(feed.state.status, 'live')
})

test('misses and doubles nothing over cut connections and a server that is killed', { timeout: 120_000 }, async (t) => {
  const server = await Server.of(t)
  const relay = await Relay.of(t, server.url)
  const feed = follow(t, new Tidegate({ server: relay.url }), { after: '0' })
  await feed.states.find(isLive)
  for (let round = 1; round <= 50; round++) {
    const made = Array.from({ length: 8 }, () => create(server.url))
    await made[Math.floor(Math.random() * made.length)]
    relay.cut()
    await Promise.all(made)
    if (round % 10 === 0) {
      await server.end(round % 20 ? 'SIGTERM' : 'SIGKILL')
      await server.start()
    }
    // Some of them may be told before the next cut.
    await feed.events.until(count(8 * (round - 1) + Math.ceil(Math.random() * 8)))
  }
  const last = await create(server.url)
  await feed.events.find(({ data }) => data.id === last)
  assertDense(feed.events.all)
  assert.equal(feed.events.all.filter(({ type }) => type === 'upload.created').length, 401)
  assert.deepEqual(feed.gaps.all, [])
  t.diagnostic(`${feed.events.all.length} events over ${relay.connections} connections`)
})

test('takes a WebSocket where a proxy holds back the stream, and stays with it', { timeout: 120_000 }, async (t) => {
  const server = await Server.of(t)
  const relay = await Relay.of(t, server.url, { swallow: /^GET \/api\/events\?/ })
  const feed = follow(t, new Tidegate({ server: relay.url }), { after: '0' })
  await feed.states.find(isLive)
  assert.equal(feed.state.transport, 'websocket')
  for (let round = 1; round <= 20; round++) {
    const made = Array.from({ length: 8 }, () => create(server.url))
    await made[Math.floor(Math.random() * made.length)]
    relay.cut()
    await Promise.all(made)
    await feed.events.until(count(8 * round))
  }
  // A lost connection is no reason to go back, but a server that is not there at all is one to try both.
  assert.ok(
    feed.states.all.slice(feed.states.all.findIndex(isLive)).every(({ transport }) => transport === 'websocket'),
  )
  await server.end()
  await server.start()
  const last = await create(server.url)
  await feed.events.find(({ data }) => data.id === last)
  assertDense(feed.events.all)
})

test('a login opens it with a ticket, on either transport', { timeout: 120_000 }, async (t) => {
  const flags = ['--auth', 'jwt', '--jwt-secret-file', secretFile(t)]
  const server = await Server.of(t, flags)
  const token = login('ann', flags)
  const client = new Tidegate({ server: server.url, token })
  const { id: projectId } = await client.call<{ id: string }>('POST', '/api/projects', { body: { title: 'Cells' } })
  const relay = await Relay.of(t, server.url, { swallow: /^GET \/api\/events\?/ })
  const direct = follow(t, client, { projectId, after: '0' })
  const proxied = follow(t, new Tidegate({ server: relay.url, token }), { projectId, after: '0' })
  await Promise.all([direct.states.find(isLive), proxied.states.find(isLive)])
  assert.deepEqual([direct.state.transport, proxied.state.transport], ['sse', 'websocket'])

  await server.end()
  await server.start()
  await client.call('PUT', `/api/projects/${projectId}`, { body: { title: 'Nuclei' } })
  for (const feed of [direct, proxied]) {
    await feed.events.find(({ type }) => type === 'project.updated')
    assertDense(feed.events.all)
  }
})

test('ends where the login is no good, and where there is no access', async (t) => {
  const flags = ['--auth', 'jwt', '--jwt-secret-file', secretFile(t)]
  const server = await Server.of(t, flags)
  const ann = new Tidegate({ server: server.url, token: login('ann', flags) })
  const bob = new Tidegate({ server: server.url, token: login('bob', flags) })
  const { id: projectId } = await ann.call<{ id: string }>('POST', '/api/projects', { body: { title: 'Cells' } })
  const problemOf = async (feed: Followed) => (await feed.states.find(isEnded)).problem?.code

  const strangers = ['none of yours', undefined].map((token) => new Tidegate({ server: server.url, token }))
  for (const client of strangers) assert.equal(await problemOf(follow(t, client, { projectId })), 'UNAUTHORIZED')
  assert.equal(await problemOf(follow(t, bob, { projectId })), 'NOT_FOUND')
  assert.equal(await problemOf(follow(t, ann, { projectId, types: ['no.such'] })), 'VALIDATION_ERROR')

  const body = { userId: 'bob' }
  const share = await ann.call<{ id: string }>('POST', `/api/projects/${projectId}/shares`, { body })
  await bob.call('POST', `/api/shares/${share.id}/accept`, { body: {} })
  const feed = follow(t, bob, { projectId })
  await feed.states.find(isLive)
  await ann.fetch('DELETE', `/api/shares/${share.id}`)
  assert.equal(await problemOf(feed), 'NOT_FOUND')
})

test('goes on from now where its place is unknown, and says so once it misses nothing more', async (t) => {
  const server = await Server.of(t)
  const relay = await Relay.of(t, server.url)
  const feed = follow(t, new Tidegate({ server: relay.url }), { after: '0' })
  for (let n = 0; n < 3; n++) await create(server.url)
  await feed.events.until(count(3))
  await server.startAnew()
  await feed.gaps.until(count(1))
  assert.deepEqual(feed.gaps.all, ['live'])
  const id = await create(server.url)
  await feed.events.find(({ data }) => data.id === id)
  assert.deepEqual(
    feed.events.all.map(({ sequence }) => sequence),
    ['1', '2', '3', '1'],
  )
})

test('says that events are no longer kept', async (t) => {
  const server = await Server.of(t)
  await create(server.url)
  await create(server.url)
  await server.end()
  server.flags = ['--event-keep', '1ms']
  await server.start()
  // What is old is removed soon after the start.
  const feed = await eventually(async () => {
    const reader = follow(t, server.client, { after: '0' })
    return (await reader.events.until(([first]) => first)).type === 'feed.gap' && reader
  })
  assert.equal(feed.gaps.all.length, 1)
  const id = await create(server.url)
  await feed.events.find(({ data }) => data.id === id)
})

test('comes back at once when the network does', async (t) => {
  const page = new EventTarget()
  Object.assign(globalThis, { addEventListener: page.addEventListener.bind(page) })
  t.after(() => Reflect.deleteProperty(globalThis, 'addEventListener'))
  const server = await Server.of(t)
  const relay = await Relay.of(t, server.url)
  const feed = follow(t, new Tidegate({ server: relay.url }))
  await feed.states.find(isLive)
  relay.hold()
  page.dispatchEvent(new Event('offline'))
  await feed.states.find(({ status }) => status === 'waiting')
  relay.release()
  const lost = feed.states.all.length
  page.dispatchEvent(new Event('online'))
  await feed.states.until((all) => all.slice(lost).find(isLive))
  const id = await create(server.url)
  await feed.events.find(({ data }) => data.id === id)
})
