// Uppy with the plugin, in Node, and what it sends.

import { channel } from 'node:diagnostics_channel'
import type { ClientRequest } from 'node:http'
import type { TestContext } from 'node:test'
import type { Tidegate } from '@tidegate/client'
import { type CancelledElsewhere, TidegateUploads, type TidegateUploadsOptions } from '@tidegate/client/uppy'
import Uppy, { type Body, type Meta, type UppyFile } from '@uppy/core'
import { cleanup } from './cleanup.ts'
import { eventually, Log } from './log.ts'

export type File = UppyFile<Meta, Body>

export interface Told {
  type: 'cancelled' | 'success' | 'error' | 'removed' | 'complete'
  file?: File
  cancelled?: CancelledElsewhere
}

export interface Sent {
  method: string
  path: string
  /** The upload's. */
  id: string
}

/** Every request that tus-js-client makes in this process, as it begins. */
export const sent = new Log<Sent>()
channel('http.client.request.start').subscribe((message) => {
  const { request } = message as { request: ClientRequest }
  const id = String(request.getHeader('Upload-Id') ?? request.path.replace(/.*\//, ''))
  if (request.method === 'PATCH') inFlight.begin(id, request)
  sent.push({ method: request.method, path: request.path, id })
})

/** How many PATCHes were under way at once, by the upload's id. */
class InFlight {
  readonly #now = new Map<string, Set<ClientRequest>>()
  readonly #most = new Map<string, number>()

  begin(id: string, request: ClientRequest): void {
    const now = this.#now.get(id) ?? new Set()
    this.#now.set(id, now.add(request))
    this.#most.set(id, Math.max(this.most(id), now.size))
    request.once('response', () => now.delete(request)).once('close', () => now.delete(request))
    const destroy = request.destroy.bind(request)
    // What is given up is over at once, though its socket closes later.
    request.destroy = (error) => {
      now.delete(request)
      return destroy(error)
    }
  }

  most(id: string): number {
    return this.#most.get(id) ?? 0
  }
}

export const inFlight = new InFlight()

export interface Uploader {
  uppy: Uppy<Meta, Body>
  told: Log<Told>
  plugin: TidegateUploads<Meta, Body>
  /** Gives the file's id in Uppy and the upload's. */
  add(name: string, size: number): { fileId: string; id: string }
}

export function uploader(
  test: TestContext,
  client: Tidegate,
  options: Partial<TidegateUploadsOptions> = {},
  uppy = new Uppy<Meta, Body>({ logger: SILENT }),
): Uploader {
  uppy.use(TidegateUploads, { client, projectId: 'default', ...options })
  const plugin = uppy.getPlugin('TidegateUploads')
  if (!plugin) throw new Error('there is no plugin')
  cleanup(test, () => destroy(uppy, client))
  const told = new Log<Told>()
  uppy.on('tidegate:cancelled', (file, cancelled) => told.push({ type: 'cancelled', file, cancelled }))
  uppy.on('upload-success', (file) => told.push({ type: 'success', file }))
  uppy.on('upload-error', (file) => told.push({ type: 'error', file: file && uppy.getFile(file.id) }))
  uppy.on('file-removed', (file) => told.push({ type: 'removed', file }))
  uppy.on('complete', () => told.push({ type: 'complete' }))
  const add = (name: string, size: number) => {
    const fileId = uppy.addFile({ name, data: content(size) })
    return { fileId, id: uploadOf(uppy.getFile(fileId)) }
  }
  return { uppy, told, plugin, add }
}

/** Cancels what is not complete, and waits until the server has done so. */
async function destroy(uppy: Uppy<Meta, Body>, client: Tidegate): Promise<void> {
  const files = uppy.getFiles().filter(({ progress }) => !progress.uploadComplete)
  uppy.destroy()
  for (const { tidegate } of files) {
    const isGone = async () => [404, 410].includes((await fetch(client.url(`/files/${tidegate?.id}`), HEAD)).status)
    await eventually(() => isGone().catch(() => true))
  }
}

const HEAD = { method: 'HEAD' }

export function uploadOf(file: File): string {
  if (!file.tidegate) throw new Error('the file has no name')
  return file.tidegate.id
}

/** tus-js-client takes a Buffer in Node, and Uppy wants the size of a Blob. */
export function content(size: number): Blob {
  return Object.assign(Buffer.alloc(size, 'tide'), { size }) as unknown as Blob
}

const SILENT = { debug() {}, warn() {}, error() {} }
