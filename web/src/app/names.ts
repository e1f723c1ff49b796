// What images are called. Items of the queue know only their ids.

import { type Signal, signal } from '@preact/signals'

import { client } from './session.js'

const KEPT_MAX = 2000

const names = new Map<string, Signal<string | undefined>>()

/** The name of an image, as soon as it is known. */
export function imageName(id: string): string | undefined {
  const known = names.get(id)
  if (known !== undefined) return known.value
  if (names.size >= KEPT_MAX) names.clear()
  const name = signal<string | undefined>(undefined)
  names.set(id, name)
  read(id, name)
  return name.value
}

/** Nothing depends on it: without a name the id is shown. */
async function read(id: string, name: Signal<string | undefined>): Promise<void> {
  try {
    const { filename } = await client.upload(id)
    name.value = filename ?? undefined
  } catch {
    names.delete(id)
  }
}
