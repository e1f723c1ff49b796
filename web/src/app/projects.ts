// The projects of the user, and the one that is open.

import { computed, effect, signal } from '@preact/signals'

import { feedState, listen } from './feed.js'
import { attempt } from './notices.js'
import { go, route } from './route.js'
import { client, login } from './session.js'

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

/** The one whose panels are shown. */
export const project = computed(() => {
  const known = projects.value
  return known?.find(({ id }) => id === route.value.project) ?? known?.[0]
})

/** Its id alone, which does not change with its title. */
export const projectId = computed(() => project.value?.id)

export async function loadProjects(): Promise<void> {
  projects.value = await every<Project>('/api/projects')
}

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
  const found: T[] = []
  for (let page = 1; page <= PAGES_MAX; page += 1) {
    const { data, pagination } = await client.list<T>(path, { page, limit: 100 })
    found.push(...data)
    if (page >= pagination.totalPages) break
  }
  return found
}

export function path(...parts: string[]): string {
  return ['', 'api', ...parts.map(encodeURIComponent)].join('/')
}

export async function createProject(title: string, description?: string): Promise<void> {
  const made = await client.call<Project>('POST', '/api/projects', { body: { title, description } })
  await loadProjects()
  go({ project: made.id })
}
