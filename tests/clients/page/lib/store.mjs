// What the server has: rows, bytes on the disk, events.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { noise } from '../../lib/file.mjs'

/** Writes a file of `size` bytes, and gives its path, size and SHA-256. */
export async function make(folder, name, size) {
  const path = join(folder, name)
  const bytes = noise(name + size)(size)
  await writeFile(path, bytes)
  return { path, size, sha256: createHash('sha256').update(bytes).digest('hex') }
}

/** A running server, and the folder of its data. */
export class Store {
  constructor(endpoint, dataDir) {
    this.endpoint = endpoint
    this.dataDir = dataDir
  }

  get origin() {
    return new URL('/', this.endpoint).href
  }

  async get(path) {
    const answer = await fetch(new URL(path, this.endpoint))
    assert.equal(answer.status, 200, path)
    return (await answer.json()).data
  }

  async post(path, body) {
    const headers = { 'Content-Type': 'application/json' }
    const answer = await fetch(new URL(path, this.endpoint), { method: 'POST', headers, body: JSON.stringify(body) })
    assert.ok(answer.ok, `${path}: ${answer.status}`)
    return (await answer.json()).data
  }

  upload(id) {
    return this.get(`/api/uploads/${id}`)
  }

  /** Whether there are bytes of it on the disk. */
  isStored(id) {
    return existsSync(join(this.dataDir, 'blobs', id.slice(0, 2), id))
  }

  /** Downloads it: the bytes, and the SHA-256 in the `ETag`, must be the file's. */
  async expectSame(id, { size, sha256 }) {
    const answer = await fetch(new URL(`/files/${id}`, this.endpoint))
    const bytes = Buffer.from(await answer.arrayBuffer())
    assert.equal(bytes.length, size)
    assert.equal(answer.headers.get('ETag'), `"${sha256}"`)
    assert.equal(createHash('sha256').update(bytes).digest('hex'), sha256)
  }

  /** Fails unless the upload was cancelled, for this reason, and nothing of it is left. */
  async expectCancelled(id, reason, all) {
    const { state } = await this.upload(id)
    assert.equal(state, 'cancelled', id)
    assert.equal(this.isStored(id), false, `bytes of ${id} are left`)
    const events = (all ?? (await this.events())).filter(({ subject }) => subject === `upload/${id}`)
    const cancelled = events.filter(({ type }) => type === 'upload.cancelled')
    assert.equal(cancelled.length, 1, `${cancelled.length} x upload.cancelled`)
    assert.equal(cancelled[0].data.reason, reason)
    assert.equal(events.at(-1), cancelled[0], 'the last event')
  }

  /** All events of the default project so far. */
  async events() {
    const leaving = new AbortController()
    const url = new URL('/api/events?projectId=default', this.endpoint)
    // The place where the feed is now, and then everything up to there.
    const now = await fetch(url, { signal: leaving.signal })
    const last = Number(now.headers.get('Tidegate-Cursor').split('=').at(-1))
    leaving.abort()
    return readEvents(new URL(`${url}&after=0`), last)
  }

  /** A number that the server counts. */
  async metric(name) {
    const text = await (await fetch(new URL('/metrics', this.endpoint))).text()
    const [, value] = text.match(new RegExp(`^${name} (.*)$`, 'm')) ?? []
    return Number(value)
  }
}

/** Reads a feed up to the sequence `last`. */
async function readEvents(url, last) {
  const leaving = new AbortController()
  const answer = await fetch(url, { headers: { Accept: 'text/event-stream' }, signal: leaving.signal })
  const events = []
  let text = ''
  const decoder = new TextDecoder()
  if (last === 0) leaving.abort()
  else {
    for await (const piece of answer.body) {
      text += decoder.decode(piece, { stream: true })
      const lines = text.split('\n')
      text = lines.pop()
      for (const line of lines) if (line.startsWith('data:')) events.push(JSON.parse(line.slice(5)))
      if (Number(events.at(-1)?.sequence) >= last) break
    }
  }
  return events
}
