import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Tidegate, TidegateError } from '@tidegate/client'
import { eventually } from './support/log.ts'
import { login, Server, secretFile } from './support/server.ts'
import { create } from './support/uploads.ts'

/** A disk that is slow with the bytes makes it `cancelling`. */
const ACCEPTED = /^cancell(ed|ing)$/
const NOBODY = '00000000-0000-4000-8000-000000000000'

test('lists pages of uploads', async (t) => {
  const { client, url } = await Server.of(t)
  const ids = [await create(url), await create(url), await create(url)]
  await client.cancelUpload(String(ids[0]))

  const page = await client.uploads('default', { limit: 2 })
  assert.deepEqual(page.pagination, { page: 1, limit: 2, total: 3, totalPages: 2 })
  assert.deepEqual(
    page.data.map(({ id }) => id),
    [ids[2], ids[1]],
  )
  const cancelled = () => client.uploads('default', { state: 'cancelled' })
  assert.equal(await eventually(async () => (await cancelled()).data[0]?.id), ids[0])
  assert.equal((await client.items('default')).pagination.total, 0)
  assert.equal((await client.exports('default')).pagination.total, 0)
})

test('a cancel says what it came to, however often', async (t) => {
  const { client, url } = await Server.of(t)
  const id = await create(url)

  const first = await client.cancelUpload(id, 'wrong file')
  assert.deepEqual([first.operation, first.id], ['upload', id])
  assert.match(first.outcome, ACCEPTED)
  const second = await client.cancelUpload(id)
  assert.deepEqual([second.outcome, second.cancelledAt], ['already_cancelled', first.cancelledAt])
  assert.equal((await client.cancelUpload(await create(url, 0))).outcome, 'already_completed')

  const several = await client.cancelUploads('default', [id, await create(url), NOBODY])
  assert.deepEqual(
    [several.cancelled + several.cancelling, several.unchanged, several.total, several.more],
    [1, 2, 3, false],
  )
  const [old, young, none] = several.results.map(({ outcome }) => outcome)
  assert.deepEqual([old, none], ['already_cancelled', 'not_found'])
  assert.match(String(young), ACCEPTED)
})

test('a refusal is an error that has the problem', async (t) => {
  const { client } = await Server.of(t)
  const calls = [
    () => client.upload(NOBODY),
    () => client.cancelItem(NOBODY),
    () => client.cancelExport('default', NOBODY),
  ]
  for (const call of calls) {
    const error = await call().catch((reason: unknown) => reason)
    assert.ok(error instanceof TidegateError)
    assert.deepEqual([error.status, error.problem.code], [404, 'NOT_FOUND'])
    assert.equal(error.message, error.problem.detail)
    assert.ok(error.requestId)
  }
  await assert.rejects(client.upload('../healthz'), { status: 400 })
})

test('a server that is away, and a caller that gives up', async (t) => {
  const server = await Server.of(t)
  await assert.rejects(server.client.uploads('default', { signal: AbortSignal.abort() }), { name: 'AbortError' })
  await server.end()
  await assert.rejects(server.client.uploads('default'), TypeError)
})

test('asks for the login each time', async (t) => {
  const flags = ['--auth', 'jwt', '--jwt-secret-file', secretFile(t)]
  const { url } = await Server.of(t, flags)
  let token: string | undefined
  const client = new Tidegate({ server: url, token: () => token })
  await assert.rejects(client.list('/api/projects'), { status: 401 })
  token = login('ann', flags)
  assert.equal((await client.list('/api/projects')).pagination.page, 1)
})

test('waits as long as it is asked to', async (t) => {
  const { client, url } = await Server.of(t, ['--max-requests-per-second', '1'])
  const calls = await Promise.allSettled([1, 2, 3].map(() => client.uploads('default')))
  const refused = calls.flatMap((call) => (call.status === 'rejected' ? [call.reason as TidegateError] : []))
  assert.ok(refused.length > 0, url)
  for (const { status, retryAfter } of refused) assert.deepEqual([status, retryAfter], [429, 1000])
})
