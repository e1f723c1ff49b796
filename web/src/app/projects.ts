// The projects of the user, and the one that is open.

import { computed, effect, signal } from '@preact/signals'
import { TidegateError } from '@tidegate/client'

import { feedState, listen } from './feed.js'
import { attempt } from './notices.js'
import { become, go, route } from './route.js'
import { client, hasToken, login } from './session.js'

export interface Project {
  id: string
  title: string
  description: string | null
  ownerId: string
  role: 'owner' | 'member' | 'admin'
  createdAt: string
  updatedAt: string
}

export interface Share {
  id: string
  projectId: string
  projectTitle?: string
  userId: string | null
  email: string | null
  status: 'pending' | 'accepted' | 'revoked'
  createdAt: string
  updatedAt: string
}

/** Lists are read in pages of 100, and not without end. */
const PAGES_MAX = 20

/** Newest first; `undefined` until they are known. */
export const projects = signal<Project[] | undefined>(undefined)

/** How many there are that were not read. */
export const unread = signal(0)

/** The one whose panels are shown: that which the address names, and never another one in its place. */
export const project = computed(() => {
  const known = projects.value
  const named = route.value.project
  return named === undefined ? known?.[0] : known?.find(({ id }) => id === named)
})

/** Its id alone, which does not change with its title. */
export const projectId = computed(() => project.value?.id)

/** What the address names, and the user has not or has no longer. */
export const lost = computed(() => {
  const named = route.value.project
  return projects.value !== undefined && project.value === undefined ? named : undefined
})

// From then on the address names it.
effect(() => {
  const isNamed = route.value.project !== undefined
  if (login.value === 'in' && projectId.value !== undefined && !isNamed) become({ project: projectId.value })
})

// Whoever signs in next has others.
let wasIn = false
effect(() => {
  const isIn = login.value === 'in'
  if (wasIn && !isIn && !hasToken()) become({ project: undefined })
  wasIn = isIn
})

export async function loadProjects(): Promise<void> {
  const { found, left } = await read<Project>('/api/projects')
  const named = route.peek().project
  const isListed = named === undefined || found.some(({ id }) => id === named)
  const one = isListed || left === 0 ? undefined : await readOne(named)
  unread.value = left - (one === undefined ? 0 : 1)
  projects.value = one === undefined ? found : [...found, one]
}

/** One of those that are too many to be listed. */
async function readOne(id: string): Promise<Project | undefined> {
  try {
    return await client.call<Project>('GET', path('projects', id))
  } catch (error) {
    if (error instanceof TidegateError && [403, 404].includes(error.status)) return undefined
    throw error
  }
}

// It may have been made or shared since the list was read.
effect(() => {
  if (lost.value !== undefined && login.peek() === 'in') attempt(loadProjects)
})

// Somebody has renamed it.
listen(({ type }) => {
  if (type === 'project.updated') attempt(loadProjects)
})

/** The feed is refused for good: the project is gone, or no longer shared with the user. */
const isLost = computed(() => feedState.value?.problem !== undefined)

effect(() => {
  if (isLost.value && login.peek() === 'in') attempt(loadProjects)
})

/** All pages of a list, as far as is sensible. */
export async function every<T>(path: string): Promise<T[]> {
  return (await read<T>(path)).found
}

async function read<T>(path: string): Promise<{ found: T[]; left: number }> {
  const found: T[] = []
  for (let page = 1; ; page += 1) {
    const { data, pagination } = await client.list<T>(path, { page, limit: 100 })
    found.push(...data)
    if (page >= pagination.totalPages) return { found, left: 0 }
    if (page === PAGES_MAX) return { found, left: pagination.total - found.length }
  }
}

export function path(...parts: string[]): string {
  return ['', 'api', ...parts.map(encodeURIComponent)].join('/')
}

export async function createProject(title: string, description?: string): Promise<void> {
  const made = await client.call<Project>('POST', '/api/projects', { body: { title, description } })
  await loadProjects()
  go({ project: made.id })
}
