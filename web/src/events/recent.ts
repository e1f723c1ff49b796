// What was told of the open project since the page was opened, as far as it is kept.

import { computed, effect, signal } from '@preact/signals'
import type { TidegateEvent } from '@tidegate/client'

import { listen } from '../app/feed.js'
import { projectId } from '../app/projects.js'
import { soon } from '../app/soon.js'

const KEPT_MAX = 500

export interface Told {
  /** Counts up. An event's own id may come twice. */
  number: number
  event: TidegateEvent
}

let kept: Told[] = []
let last = 0

const version = signal(0)

function show(): void {
  version.value = version.peek() + 1
}

const changed = soon(show)

listen((event) => {
  last += 1
  kept.push({ number: last, event })
  if (kept.length > KEPT_MAX) kept.shift()
  changed()
})

/** Newest first. Anew only while somebody looks. */
export const recent = computed<readonly Told[]>(() => {
  version.value
  return [...kept].reverse()
})

/** What was there when the user said to hold. */
const held = signal<{ events: readonly Told[]; last: number } | undefined>(undefined)

export const isHeld = computed(() => held.value !== undefined)

/** What is to be shown: all, or what is held. */
export const shown = computed(() => held.value?.events ?? recent.value)

/** How many have come since then. */
export const heldBack = computed(() => {
  version.value
  return held.value === undefined ? 0 : last - held.value.last
})

export function hold(): void {
  show()
  held.value = { events: recent.value, last }
}

export function goOn(): void {
  held.value = undefined
}

export function clear(): void {
  kept = []
  if (held.peek() !== undefined) held.value = { events: [], last }
  show()
}

// Another project has other events.
effect(() => {
  projectId.value
  goOn()
  clear()
})
