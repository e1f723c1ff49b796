// Where the browser keeps the files of this tab. Two tabs must not share that: each would send the other's files.

import { takePlace } from '@tidegate/client/uppy'

const SLOTS = 16

/** Tabs whose feeds are counted already where uploads have three of six connections; and one is left for calls. */
const ROOM_FOR = 2

/** With more tabs than these there would be no place left for uploads. */
const TABS_MAX = 4

let taken: Promise<string> | undefined

/** A tab that is closed or reloaded gives its place back, and the next one goes on with what is there. */
export function takeSlot(places: number): Promise<string> {
  taken ??= firstFree(places)
  return taken
}

async function firstFree(places: number): Promise<string> {
  // Browsers have locks on secure pages only (HTTPS, or this very machine).
  if (navigator.locks === undefined) return ofTab()
  for (let slot = 0; slot < SLOTS; slot += 1) {
    if (!(await hold(`tidegate-uploads-${slot}`))) continue
    // Its feed takes a connection from the uploads, for as long as the tab is there, not from the calls.
    if (slot >= ROOM_FOR && slot < TABS_MAX) takePlace(places)
    return String(slot)
  }
  return ofTab()
}

/** Whether a lock was free. It is held until the tab is gone. */
function hold(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null)
      return lock === null ? undefined : new Promise(() => {})
    })
  })
}

/** Lives as long as the tab does. */
function ofTab(): string {
  const known = sessionStorage.getItem('tidegate-slot')
  if (known !== null) return known
  const made = `tab-${Math.random().toString(36).slice(2)}`
  sessionStorage.setItem('tidegate-slot', made)
  return made
}
