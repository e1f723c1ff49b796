// What others upload, with nothing but HTTP.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'

const TUS = { 'Tus-Resumable': '1.0.0' }

const base64 = (text) => Buffer.from(text).toString('base64')

/** Creates an upload of `length` bytes, of a file in a folder if there is a path, and gives its id. */
export async function create(store, name, length, relativePath) {
  const id = randomUUID()
  const answer = await fetch(store.endpoint, {
    method: 'POST',
    headers: {
      ...TUS,
      'Upload-Id': id,
      'Upload-Length': String(length),
      'Upload-Metadata': `filename ${base64(name)}${relativePath ? `,relativePath ${base64(relativePath)}` : ''}`,
    },
  })
  assert.equal(answer.status, 201)
  return id
}

/** Appends bytes at an offset; with a signal, until it is aborted. */
export function append(store, id, offset, body, { signal } = {}) {
  return fetch(`${store.endpoint}/${id}`, {
    method: 'PATCH',
    headers: { ...TUS, 'Upload-Offset': String(offset), 'Content-Type': 'application/offset+octet-stream' },
    body,
    duplex: 'half',
    signal,
  })
}

/** Begins to send an upload: these bytes, and then nothing but what is given to `send`, until it is left. */
export async function begin(store, name, { length, bytes }) {
  const id = await create(store, name, length)
  const leaving = new AbortController()
  let stream
  const body = new ReadableStream({
    start: (controller) => {
      stream = controller
      stream.enqueue(bytes)
    },
  })
  const answered = append(store, id, 0, body, { signal: leaving.signal }).catch(() => undefined)
  return { id, answered, send: (more) => stream.enqueue(more), leave: () => leaving.abort() }
}
