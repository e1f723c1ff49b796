// What the page has to say, in a live region and for some seconds on the screen.

import { signal } from '@preact/signals'

import { text as words } from '../text.js'

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
  const others = notices.peek().filter((other) => other.text !== text)
  notices.value = [...others, notice].slice(-SHOWN_MAX)
  setTimeout(() => dismiss(notice.id), SHOWN_MS)
}

export function dismiss(id: number): void {
  notices.value = notices.peek().filter((notice) => notice.id !== id)
}

/** Tells why something could not be done, unless the page itself has given it up. */
export function complain(error: unknown): void {
  if (error instanceof DOMException && error.name === 'AbortError') return
  notify(reasonOf(error), 'bad')
}

/** Why something could not be done. What a browser says when a server cannot be reached is for programmers. */
export function reasonOf(error: unknown): string {
  if (error instanceof TypeError) return words.unreachable
  return error instanceof Error ? error.message : String(error)
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
