// Where the browser keeps the files of this tab. Two tabs must not share that: each would send the other's files.

const SLOTS = 16

let taken: Promise<string> | undefined

/** A tab that is closed or reloaded gives its place back, and the next one goes on with what is there. */
export function takeSlot(): Promise<string> {
  taken ??= firstFree()
  return taken
}

async function firstFree(): Promise<string> {
  // Browsers have locks on secure pages only (HTTPS, or this very machine).
  if (navigator.locks === undefined) return ofTab()
  for (let slot = 0; slot < SLOTS; slot += 1) {
    if (await hold(`tidegate-uploads-${slot}`)) return String(slot)
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
