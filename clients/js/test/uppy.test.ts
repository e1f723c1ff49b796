import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Tidegate, type TidegateEvent } from '@tidegate/client'
import { TidegateUploads } from '@tidegate/client/uppy'
import Uppy, { type Body, type Meta } from '@uppy/core'
import { cleanup } from './support/cleanup.ts'
import { eventually, Log } from './support/log.ts'
import { Relay } from './support/relay.ts'
import { login, Server, secretFile } from './support/server.ts'
import { create, creation, remove } from './support/uploads.ts'
import { content, inFlight, sent, type Told, type Uploader, uploader, uploadOf } from './support/uppy.ts'

const KIB = 1024
const MIB = 1024 * KIB
const POST = ({ method }: { method: string }) => method === 'POST'

const requests = (id: string) => sent.all.filter((request) => request.id === id)
const methods = (id: string) => requests(id).map(({ method }) => method)
const ofType = (type: Told['type']) => (told: Told) => told.type === type
const state = (client: Tidegate, id: string) => client.upload(id).then((upload) => upload.state)
const isCancelled = (client: Tidegate, id: string) => async () => (await state(client, id)) === 'cancelled'

/** Pauses a file once the server has some of it. */
async function pauseMidway({ uppy }: Uploader, fileId: string): Promise<void> {
  const progress = new Log<number>()
  const note = (file: { id: string } | undefined, { bytesUploaded }: { bytesUploaded: number | false }) => {
    if (file?.id === fileId) progress.push(Number(bytesUploaded))
  }
  uppy.on('upload-progress', note)
  await progress.find((bytes) => bytes >= 256 * KIB)
  uppy.pauseResume(fileId)
  uppy.off('upload-progress', note)
}

/** A file that is half sent, and paused. */
async function halfSent(t: TestContext, client: Tidegate, options: Parameters<typeof uploader>[2] = {}) {
  const made = uploader(t, client, { chunkSize: 64 * KIB, ...options })
  const file = made.add('scan.tif', 8 * MIB)
  void made.uppy.upload()
  await pauseMidway(made, file.fileId)
  return { ...made, ...file }
}

/** That the file has gone, and nothing can bring it back. */
async function assertGone({ uppy, told }: Uploader, id: string): Promise<void> {
  assert.deepEqual(uppy.getFiles(), [])
  assert.equal(told.all.filter(ofType('cancelled')).length, 1)
  assert.equal(told.all.filter(ofType('error')).length, 0)
  const before = requests(id).length
  await uppy.retryAll()
  await uppy.upload()
  assert.equal(requests(id).length, before)
}

test('uploads files, each created once and by its name', async (t) => {
  const { client } = await Server.of(t)
  const { uppy, add, told } = uploader(t, client)
  const files = [0, 1, 20 * MIB, 3 * MIB, 5].map((size, index) => add(`${index}.bin`, size))
  const result = await uppy.upload()
  assert.equal(result?.successful?.length, files.length)
  assert.equal(told.all.filter(ofType('success')).length, files.length)
  for (const { id } of files) {
    assert.equal(await state(client, id), 'completed')
    assert.equal(requests(id).filter(POST).length, 1)
  }
  assert.equal((await client.uploads('default')).pagination.total, files.length)
})

test('a file that somebody cancels leaves, told by the feed', async (t) => {
  const { client } = await Server.of(t)
  const made = await halfSent(t, client)
  await client.cancelUpload(made.id, 'wrong plate')
  const { cancelled, file } = await made.told.find(ofType('cancelled'))
  assert.deepEqual([cancelled?.id, cancelled?.reason, cancelled?.by], [made.id, 'wrong plate', 'feed'])
  assert.ok(Date.parse(String(cancelled?.cancelledAt)))
  assert.equal(file?.id, made.fileId)
  const [info] = made.uppy.getState().info
  assert.deepEqual([info?.type, info?.message, info?.details], ['warning', 'scan.tif was cancelled', 'wrong plate'])
  await assertGone(made, made.id)
  assert.deepEqual(
    methods(made.id).filter((method) => method === 'DELETE'),
    [],
  )
})

test('a file that somebody cancels leaves, told by the answer', async (t) => {
  const { client } = await Server.of(t)
  const made = await halfSent(t, client, { subscribe: false })
  await client.cancelUpload(made.id, 'wrong plate')
  made.uppy.pauseResume(made.fileId)
  const { cancelled } = await made.told.find(ofType('cancelled'))
  assert.deepEqual([cancelled?.id, cancelled?.reason, cancelled?.by], [made.id, 'wrong plate', 'answer'])
  await assertGone(made, made.id)
  assert.deepEqual(methods(made.id).slice(-2), ['HEAD', 'PATCH'])
})

test('a file whose upload somebody has deleted leaves as well', async (t) => {
  const { client, url } = await Server.of(t)
  const made = await halfSent(t, client, { subscribe: false })
  await remove(url, made.id)
  made.uppy.pauseResume(made.fileId)
  const { cancelled } = await made.told.find(ofType('cancelled'))
  assert.equal(cancelled?.by, 'answer')
  await assertGone(made, made.id)
  assert.equal(methods(made.id).at(-1), 'HEAD')
})

test('an app can tell the plugin of events itself', async (t) => {
  const { client } = await Server.of(t)
  const made = await halfSent(t, client, { subscribe: false })
  const seen = new Log<TidegateEvent>()
  const feed = client.subscribe({ projectId: 'default', after: '0', onEvent: seen.push })
  cleanup(t, () => feed.close())
  await client.cancelUpload(made.id)
  await seen.find(({ type }) => type === 'upload.cancelled')
  for (const event of [...seen.all, ...seen.all]) made.plugin.handle(event)
  assert.equal(made.told.all.find(ofType('cancelled'))?.cancelled?.by, 'feed')
  await assertGone(made, made.id)
})

test('a cancel at any moment: one event, one creation, nothing after it', { timeout: 300_000 }, async (t) => {
  const ROUNDS = 100
  const { client } = await Server.of(t)
  const outcomes: Record<string, number> = {}
  const ids = new Set<string>()
  for (let round = 0; round < ROUNDS; round++) {
    const made = uploader(t, client, { chunkSize: 64 * KIB, subscribe: round % 3 > 0 })
    const { uppy, told, add } = made
    const { id } = add(`${round}.bin`, 512 * KIB)
    const at = Math.floor(Math.random() * 10)
    const result = uppy.upload()
    // A cancel can be on its way together with the creation, and come before it.
    if (at > 0) await sent.until(() => requests(id).length >= at)
    const answer = await client.cancelUpload(id).catch(() => ({ outcome: 'before' as const }))
    await result
    const outcome = answer.outcome === 'already_completed' ? 'completed' : 'cancelled'
    await told.find(ofType(outcome === 'completed' ? 'success' : 'cancelled'))
    const by = told.all.find(ofType('cancelled'))?.cancelled?.by ?? 'nobody'
    const key = `${answer.outcome}, told by ${by}`
    outcomes[key] = (outcomes[key] ?? 0) + 1
    if (outcome === 'cancelled') await assertGone(made, id)
    assert.equal(told.all.filter(ofType('success')).length, outcome === 'completed' ? 1 : 0)
    assert.equal(requests(id).filter(POST).length, 1)
    assert.ok(!methods(id).includes('DELETE'))
    ids.add(id)
    uppy.destroy()
  }
  const { data, pagination } = await client.uploads('default', { limit: 100 })
  assert.ok(pagination.total <= ROUNDS && data.every(({ id, state }) => ids.has(id) && state !== 'uploading'))
  t.diagnostic(JSON.stringify(outcomes))
})

test('what the user cancels himself is cancelled on the server, and nobody is told', async (t) => {
  const { client } = await Server.of(t)
  const seen = new Log<TidegateEvent>()
  const feed = client.subscribe({ projectId: 'default', after: '0', onEvent: seen.push })
  cleanup(t, () => feed.close())
  const made = await halfSent(t, client, { reason: 'changed my mind' })
  made.uppy.removeFile(made.fileId)
  const { data } = await seen.find(({ type }) => type === 'upload.cancelled')
  assert.deepEqual([data.id, data.reason], [made.id, 'changed my mind'])

  const other = made.add('other.tif', 8 * MIB)
  void made.uppy.upload()
  await pauseMidway(made, other.fileId)
  made.uppy.cancelAll()
  await eventually(isCancelled(client, other.id))
  assert.equal(made.told.all.filter(ofType('cancelled')).length, 0)
})

test('what the user cancels is cancelled though the server is away or has not answered yet', async (t) => {
  const server = await Server.of(t)
  const made = await halfSent(t, server.client)
  await server.end()
  made.uppy.pauseResume(made.fileId)
  await sent.until(() => methods(made.id).at(-1) === 'HEAD')
  made.uppy.removeFile(made.fileId)
  await server.start()
  await eventually(isCancelled(server.client, made.id))

  const relay = await Relay.of(t, server.url)
  relay.hold()
  const away = uploader(t, new Tidegate({ server: relay.url }), { subscribe: false })
  const { fileId, id } = away.add('lost.tif', MIB)
  void away.uppy.upload()
  await sent.until(() => requests(id).length === 1)
  away.uppy.removeFile(fileId)
  relay.release()
  relay.cut()
  // Whether the creation came first or the cancel, there is nothing more to be created.
  await eventually(async () => (await creation(server.url, id, MIB)) === 410)
  assert.equal(away.told.all.filter(ofType('cancelled')).length, 0)
})

test('the same file, added again after its cancel, is uploaded anew', async (t) => {
  const { client } = await Server.of(t)
  const made = await halfSent(t, client)
  await client.cancelUpload(made.id)
  await made.told.find(ofType('cancelled'))
  const again = made.add('scan.tif', 8 * MIB)
  assert.equal(again.fileId, made.fileId)
  assert.notEqual(again.id, made.id)
  const result = await made.uppy.upload()
  assert.equal(result?.successful?.length, 1)
  assert.equal(await state(client, again.id), 'completed')
})

test('an answer to a creation that is lost makes no second upload', async (t) => {
  const server = await Server.of(t)
  const relay = await Relay.of(t, server.url)
  relay.cutAt = /^POST /
  const { uppy, add } = uploader(t, new Tidegate({ server: relay.url }), { subscribe: false })
  const { id } = add('scan.tif', MIB)
  const result = await uppy.upload()
  assert.equal(result?.successful?.length, 1)
  assert.equal(requests(id).filter(POST).length, 2)
  const { data } = await server.client.uploads('default')
  assert.deepEqual(
    data.map((upload) => [upload.id, upload.state]),
    [[id, 'completed']],
  )
})

test('goes on over cut connections and a server that restarts', { timeout: 120_000 }, async (t) => {
  const server = await Server.of(t)
  const relay = await Relay.of(t, server.url)
  const { uppy, add } = uploader(t, new Tidegate({ server: relay.url }), { chunkSize: 256 * KIB })
  const files = Array.from({ length: 5 }, (_, index) => add(`${index}.bin`, 4 * MIB))
  const result = uppy.upload()
  for (let round = 0; round < 10; round++) {
    const before = sent.all.length
    await sent.until(
      (all) => all.length > before + 4 || uppy.getFiles().every(({ progress }) => progress.uploadComplete),
    )
    relay.cut()
    if (round % 4 === 3) {
      await server.end()
      await server.start()
    }
  }
  assert.equal((await result)?.successful?.length, files.length)
  for (const { id } of files) {
    assert.equal((await server.client.upload(id)).offset, 4 * MIB)
    assert.equal(await state(server.client, id), 'completed')
  }
  assert.equal((await server.client.uploads('default')).pagination.total, files.length)
})

test('what has expired begins anew with the next retry', { timeout: 60_000 }, async (t) => {
  const { client } = await Server.of(t, ['--upload-expires-after', '1s'])
  const made = await halfSent(t, client)
  await eventually(async () => (await state(client, made.id)) === 'expired')
  made.uppy.pauseResume(made.fileId)
  const { file } = await made.told.find(ofType('error'))
  assert.match(String(file?.error), /not finished in time/)
  assert.doesNotMatch(String(file?.error), /tus/)
  const anew = uploadOf(made.uppy.getFile(made.fileId))
  assert.notEqual(anew, made.id)
  const result = await made.uppy.retryAll()
  assert.equal(result?.successful?.length, 1)
  assert.equal(await state(client, anew), 'completed')
  assert.equal(requests(made.id).filter(POST).length, 1)
})

test('what the server knows no longer begins anew with the next retry', async (t) => {
  const server = await Server.of(t)
  const made = await halfSent(t, server.client)
  await server.startAnew()
  made.uppy.pauseResume(made.fileId)
  await made.told.find(ofType('error'))
  assert.equal((await server.client.uploads('default')).pagination.total, 0)
  const result = await made.uppy.retryAll()
  assert.equal(result?.successful?.length, 1)
  assert.notEqual(uploadOf(made.uppy.getFile(made.fileId)), made.id)
})

test('what is refused for good says why, once', async (t) => {
  const { client } = await Server.of(t, ['--max-upload-size', '1000'])
  const { uppy, add, told } = uploader(t, client)
  const { id } = add('scan.tif', 1001)
  await uppy.upload()
  const { file } = await told.find(ofType('error'))
  assert.match(String(file?.error), /1000 bytes/)
  assert.doesNotMatch(String(file?.error), /tus/)
  assert.deepEqual(methods(id), ['POST'])
})

test('a server that asks for patience gets it', { timeout: 60_000 }, async (t) => {
  const { client } = await Server.of(t, ['--max-open-uploads', '2', '--max-streams', '1'])
  const { uppy, add } = uploader(t, client, { limit: 6, chunkSize: 256 * KIB })
  const files = Array.from({ length: 6 }, (_, index) => add(`${index}.bin`, MIB))
  const result = await uppy.upload()
  assert.deepEqual([result?.successful?.length, result?.failed?.length], [files.length, 0])
})

test('another project is that of files which are added from then on', async (t) => {
  const { client } = await Server.of(t)
  const { id: projectId } = await client.call<{ id: string }>('POST', '/api/projects', { body: { title: 'Cells' } })
  const { uppy, add, plugin } = uploader(t, client)
  const before = add('before.tif', 10)
  plugin.setOptions({ projectId })
  const after = add('after.tif', 10)
  await uppy.upload()
  const projects = await Promise.all([before, after].map(async ({ id }) => (await client.upload(id)).projectId))
  assert.deepEqual(projects, ['default', projectId])
})

test('a login is asked for with each request', async (t) => {
  const flags = ['--auth', 'jwt', '--jwt-secret-file', secretFile(t)]
  const server = await Server.of(t, flags)
  const good = login('ann', flags)
  let asked = 0
  // The first one is no good any more, and the app renews it.
  const client = new Tidegate({ server: server.url, token: () => (asked++ ? good : 'old') })
  const ann = new Tidegate({ server: server.url, token: good })
  const { id: projectId } = await ann.call<{ id: string }>('POST', '/api/projects', { body: { title: 'Cells' } })
  const { uppy, add } = uploader(t, client, { projectId, subscribe: false })
  const { id } = add('scan.tif', 10)
  const result = await uppy.upload()
  assert.equal(result?.successful?.length, 1)
  assert.deepEqual(methods(id), ['POST', 'POST', 'PATCH'])
})

/** A server that asks for logins, and a project there. */
async function withLogin(t: TestContext) {
  const flags = ['--auth', 'jwt', '--jwt-secret-file', secretFile(t)]
  const server = await Server.of(t, flags)
  const token = login('ann', flags)
  const ann = new Tidegate({ server: server.url, token })
  const { id: projectId } = await ann.call<{ id: string }>('POST', '/api/projects', { body: { title: 'Cells' } })
  return { server, token, ann, projectId }
}

test('files whose login is refused wait for another one', async (t) => {
  const { server, token, ann, projectId } = await withLogin(t)
  let now = token
  let ready: Promise<void> | undefined
  const client = new Tidegate({ server: server.url, token: () => now })
  const options = { projectId, chunkSize: 64 * KIB, subscribe: false, ready: () => ready }
  const made = uploader(t, client, options)
  const { id } = made.add('scan.tif', 8 * MIB)
  const refused = new Promise<() => void>((resolve) => {
    made.uppy.once('tidegate:unauthorized', () => {
      ready = new Promise((signIn) => resolve(signIn))
    })
  })
  const result = made.uppy.upload()
  await sent.until(() => requests(id).length > 5)
  now = 'expired'
  const signIn = await refused
  const { offset } = await ann.upload(id)
  now = token
  signIn()
  assert.equal((await result)?.successful?.length, 1)
  assert.ok(offset < 8 * MIB)
  assert.equal(requests(id).filter(POST).length, 1)
})

test('a cancel has the login of when it was wanted, however often it is told', async (t) => {
  const { server, token, ann, projectId } = await withLogin(t)
  let now: string | undefined = token
  const client = new Tidegate({ server: server.url, token: () => now })
  const made = await halfSent(t, client, { projectId, subscribe: false })
  await server.end()
  made.uppy.removeFile(made.fileId)
  now = undefined
  await server.start()
  await eventually(isCancelled(ann, made.id))
  now = token
})

test('files that are added together are named together', () => {
  const uppy = new Uppy<Meta, Body>({ logger: { debug() {}, warn() {}, error() {} } })
  uppy.use(TidegateUploads, { client: new Tidegate({ server: 'http://127.0.0.1:9' }), projectId: 'default' })
  let updates = 0
  uppy.on('state-update', () => {
    updates += 1
  })
  uppy.addFiles(Array.from({ length: 500 }, (_, index) => ({ name: `${index}.bin`, data: content(1) })))
  assert.equal(new Set(uppy.getFiles().map(uploadOf)).size, 500)
  assert.ok(updates <= 3, `${updates} updates`)
})

test('files that are abandoned stay on the server', async (t) => {
  const { client } = await Server.of(t)
  const { uppy, plugin, ...made } = await halfSent(t, client, { subscribe: false })
  const before = requests(made.id).length
  plugin.abandon()
  assert.deepEqual(uppy.getFiles(), [])
  assert.equal(await state(client, made.id), 'uploading')
  assert.equal(requests(made.id).length, before)
  await client.cancelUpload(made.id)
})

test('a network that is back is not waited for', { timeout: 60_000 }, async (t) => {
  const server = await Server.of(t)
  const made = await halfSent(t, server.client, { subscribe: false })
  await server.end()
  made.uppy.pauseResume(made.fileId)
  const before = requests(made.id).length
  // The fifth attempt is followed by a pause of 2 s at least.
  await sent.until(() => requests(made.id).length === before + 5)
  await server.start()
  made.uppy.emit('is-online')
  const start = performance.now()
  await sent.until(() => requests(made.id).length > before + 5)
  assert.ok(performance.now() - start < 1500)
  await made.told.find(ofType('success'))
})

test('to resume all of what runs makes no second sender', async (t) => {
  const { client } = await Server.of(t)
  const { uppy, add } = uploader(t, client, { chunkSize: 64 * KIB, limit: 2, subscribe: false })
  const files = Array.from({ length: 4 }, (_, index) => add(`${index}.bin`, 4 * MIB))
  const result = uppy.upload()
  for (let round = 1; round <= 5; round++) {
    await sent.until(() =>
      files.some(({ id }) => methods(id).filter((method) => method === 'PATCH').length > 5 * round),
    )
    uppy.resumeAll()
  }
  assert.equal((await result)?.successful?.length, files.length)
  for (const { id } of files) {
    assert.equal(inFlight.most(id), 1)
    assert.equal((await client.upload(id)).offset, 4 * MIB)
  }
})

test('an upload of somebody else is none of these files', async (t) => {
  const { client, url } = await Server.of(t)
  const made = await halfSent(t, client)
  await client.cancelUpload(await create(url))
  made.uppy.pauseResume(made.fileId)
  await made.told.find(ofType('success'))
  assert.equal(made.told.all.filter(ofType('cancelled')).length, 0)
})
