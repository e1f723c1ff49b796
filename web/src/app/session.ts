// Who is using the page.

import { signal } from '@preact/signals'
import { Tidegate, TidegateError } from '@tidegate/client'

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
  if (answer.status === 401) login.value = 'out'
  return answer
}

export const client = new Tidegate({ token: () => token.peek(), fetch: send })

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

/** Asks whether the server takes the token, or, without one, whether it wants any. */
export async function signIn(pasted?: string): Promise<void> {
  token.value = pasted
  refusal.value = undefined
  try {
    await client.list('/api/projects', { limit: 1 })
    login.value = 'in'
  } catch (error) {
    const isRefused = error instanceof TidegateError && error.status === 401
    login.value = isRefused ? 'out' : 'away'
    if (isRefused) token.value = undefined
    if (pasted !== undefined || !isRefused) refusal.value = String(error instanceof Error ? error.message : error)
  }
}

/** Forgets the token, and what is only in memory for its sake. */
export function signOut(): void {
  token.value = undefined
  login.value = 'out'
}

/** Asks once more, with the same token. */
export function askAgain(): Promise<void> {
  return signIn(token.peek())
}
