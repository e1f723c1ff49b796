// What uploads are called, where that is not known: items of the queue know only the id of their image, and events do
// not say in which folder a file was.

import { type Signal, signal } from '@preact/signals'
import type { Upload } from '@tidegate/client'

import { shortId } from '../format.js'
import { epoch } from './feed.js'
import { Limit } from './limit.js'
import { client, onUserChange } from './session.js'

const KEPT_MAX = 2000
const AT_ONCE = 4

interface Lookup {
  name: Signal<string | undefined>
  /** The epoch in which it could not be looked up. It is not tried again before the next one. */
  failedIn?: number
}

/** The oldest first. */
const lookups = new Map<string, Lookup>()
const limit = new Limit(AT_ONCE)

onUserChange(() => lookups.clear())

/** As its sender knows the file: with the folder that it was in, if it was. */
export function pathOf({ filename, metadata }: Pick<Upload, 'filename' | 'metadata'>): string | undefined {
  return metadata.relativePath || (filename ?? undefined)
}

/** The name of an upload, as soon as it is known. Nothing depends on it: without a name the id is shown. */
export function uploadName(id: string): string | undefined {
  const known = lookups.get(id)
  if (known !== undefined && (known.failedIn === undefined || known.failedIn === epoch.value)) return known.name.value
  const [oldest] = lookups.keys()
  if (lookups.size >= KEPT_MAX && oldest !== undefined) lookups.delete(oldest)
  const lookup: Lookup = known ?? { name: signal(undefined) }
  delete lookup.failedIn
  lookups.set(id, lookup)
  look(id, lookup)
  return lookup.name.value
}

async function look(id: string, lookup: Lookup): Promise<void> {
  try {
    lookup.name.value = pathOf(await limit.run(() => client.upload(id)))
  } catch {
    lookup.failedIn = epoch.peek()
  }
}

/** A name, and what tells it from others that are the same. */
export interface Name {
  name: string
  hint?: string
}

/** One of several files of this name: by its folder, or, if it was in none, by the beginning of its id. */
export function amongTwins(id: string, name: string): Name {
  const path = uploadName(id)
  return path === undefined || path === name ? { name, hint: shortId(id) } : { name: path }
}

/** Names that there are more than once. */
export function twins(names: (string | undefined)[]): ReadonlySet<string> {
  const seen = new Set<string>()
  const twice = new Set<string>()
  for (const name of names) {
    if (name === undefined) continue
    if (seen.has(name)) twice.add(name)
    seen.add(name)
  }
  return twice
}

/** In one text. */
export function inWords({ name, hint }: Name): string {
  return hint === undefined ? name : `${name} (${hint})`
}
