// Files to upload, and what must come back.

import assert from 'node:assert/strict'
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

export const KIB = 1024
export const MIB = 1024 * KIB

/** Pause between two looks at a condition. */
const POLL_MS = 10

/** Bytes without a pattern, the same for the same seed: any shift, loss or doubling shows. */
export function noise(seed) {
  const key = createHash('sha256').update(seed).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  return (size) => cipher.update(Buffer.alloc(size))
}

/** Writes a file of `size` bytes and returns it with its SHA-256, in hexadecimal. */
export async function makeFile(folder, size, seed = randomBytes(16)) {
  const path = join(folder, 'source.bin')
  const next = noise(seed)
  const hash = createHash('sha256')
  const file = await open(path, 'w')
  for (let at = 0; at < size; at += MIB) {
    const block = next(Math.min(MIB, size - at))
    hash.update(block)
    await file.writeFile(block)
  }
  await file.close()
  return { path, size, sha256: hash.digest('hex') }
}

/** Downloads `url`: its length, its `ETag` (the SHA-256) and every byte must be the file's. */
export async function expectSame(url, file) {
  const answer = await fetch(url)
  assert.equal(answer.status, 200, 'the status of the download')
  assert.equal(answer.headers.get('Content-Length'), String(file.size))
  assert.equal(answer.headers.get('ETag'), `"${file.sha256}"`)
  const source = await open(file.path)
  let at = 0
  try {
    for await (const found of answer.body) {
      const wanted = Buffer.alloc(found.length)
      const { bytesRead } = await source.read(wanted, 0, wanted.length, at)
      const same = wanted.subarray(0, bytesRead).equals(found)
      assert.ok(same, `the download differs between bytes ${at} and ${at + found.length}`)
      at += found.length
    }
  } finally {
    await source.close()
  }
  assert.equal(at, file.size, 'the length of the download')
  return { url, bytes: at, sha256: file.sha256 }
}

/** The metadata of an upload as `HEAD` tells them. */
export async function metadataOf(url) {
  const answer = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
  const pairs = answer.headers.get('Upload-Metadata').split(',')
  const decode = ([key, value = '']) => [key, Buffer.from(value, 'base64').toString()]
  return Object.fromEntries(pairs.map((pair) => decode(pair.split(' '))))
}

/** What the server's own API says about an upload. */
export async function rowOf(url) {
  const answer = await fetch(url.replace('/files/', '/api/uploads/'))
  return (await answer.json()).data
}

/** Asks `probe` until it has an answer; the scenario's deadline ends that. */
export async function eventually(probe) {
  for (;;) {
    const found = await probe()
    if (found) return found
    await setTimeout(POLL_MS)
  }
}
