// Who is using the page.

import { signal } from '@preact/signals'
import { Tidegate, TidegateError } from '@tidegate/client'

import { text } from '../text.js'
import { notices, reasonOf } from './notices.js'

/** `away`: nobody knows, since the server does not answer. */
export type Login = 'unknown' | 'in' | 'out' | 'away'

/** Whether the server takes what we ask as somebody's. */
export const login = signal<Login>('unknown')

/** Why it is not so, in the server's words. */
export const refusal = signal<string | undefined>(undefined)

/** The token is here and nowhere else: it does not outlive the page. */
const token = signal<string | undefined>(undefined)

async function send(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const answer = await fetch(input, init)
  // An answer to what was asked with another login, or with a ticket, says nothing about this one.
  const asked = new Headers(init?.headers).get('Authorization') ?? undefined
  if (answer.status === 401 && asked === client.headers().Authorization) expire()
  return answer
}

export const client = new Tidegate({ token: () => token.peek(), fetch: send })

/** The server no longer takes the token. Whoever signs in again finds everything as it was. */
export function expire(): void {
  if (login.peek() === 'in') refusal.value = text.signIn.expired
  login.value = 'out'
}

/** Resolves once somebody is signed in; `undefined` if that is so. */
export function signedIn(): Promise<void> | undefined {
  if (login.peek() === 'in') return undefined
  return new Promise((resolve) => {
    const stop = login.subscribe((now) => {
      if (now !== 'in') return
      resolve()
      queueMicrotask(() => stop())
    })
  })
}

const forgetters = new Set<() => void>()

/** Calls this before another user than the last one is signed in: what is known of the last one is not for him. */
export function onUserChange(forget: () => void): void {
  forgetters.add(forget)
}

/** Who was signed in last. */
let user: string | undefined

function welcome(): void {
  const now = userOfToken()
  if (now !== user) {
    notices.value = []
    for (const forget of forgetters) forget()
  }
  user = now
  login.value = 'in'
}

/** Whether somebody has signed in here, and can sign out. */
export function hasToken(): boolean {
  return token.value !== undefined
}

/** The user that the token names. Only for display: the server decides what it is worth. */
export function userOfToken(): string | undefined {
  const [, claims] = token.value?.split('.') ?? []
  if (claims === undefined) return undefined
  try {
    const text = atob(claims.replaceAll('-', '+').replaceAll('_', '/'))
    const { sub, userId } = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))))
    return String(sub ?? userId)
  } catch {
    return undefined
  }
}

/** What can be sent as a token: a header field has no other characters, and no server takes longer ones. */
const TOKEN = /^[\x21-\x7e]{1,8000}$/

/** Asks whether the server takes the token, or, without one, whether it wants any. */
export async function signIn(pasted?: string): Promise<void> {
  const wanted = pasted?.trim().replace(/^Bearer\s+/i, '')
  refusal.value = wanted === undefined || TOKEN.test(wanted) ? undefined : text.signIn.noToken
  if (refusal.value !== undefined) return
  token.value = wanted
  try {
    await client.list('/api/projects', { limit: 1 })
    welcome()
  } catch (error) {
    const isRefused = error instanceof TidegateError && error.status === 401
    token.value = undefined
    // Who has pasted one can paste another.
    login.value = isRefused || wanted !== undefined ? 'out' : 'away'
    if (wanted !== undefined || !isRefused) refusal.value = reasonOf(error)
  }
}

/** Forgets the token, and what is only in memory for its sake. */
export function signOut(): void {
  token.value = undefined
  refusal.value = undefined
  login.value = 'out'
}

/** Asks once more whether the server wants a token. */
export function askAgain(): Promise<void> {
  return signIn()
}
