// What the page has to say, in a live region and for some seconds on the screen.

import { signal } from '@preact/signals'

export interface Notice {
  id: number
  kind: 'good' | 'bad'
  text: string
}

const SHOWN_MS = 8000
const SHOWN_MAX = 4

export const notices = signal<Notice[]>([])

let last = 0

export function notify(text: string, kind: Notice['kind'] = 'good'): void {
  last += 1
  const notice = { id: last, kind, text }
  notices.value = [...notices.peek(), notice].slice(-SHOWN_MAX)
  setTimeout(() => dismiss(notice.id), SHOWN_MS)
}

export function dismiss(id: number): void {
  notices.value = notices.peek().filter((notice) => notice.id !== id)
}

/** Tells why something could not be done, unless the page itself has given it up. */
export function complain(error: unknown): void {
  if (error instanceof DOMException && error.name === 'AbortError') return
  notify(error instanceof Error ? error.message : String(error), 'bad')
}

/** Does something that the user has asked for, and tells if it cannot be done. */
export async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    complain(error)
    return undefined
  }
}
