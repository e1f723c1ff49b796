// What the page shows, as its address says: `#/images?project=ID`. So it can be reloaded, kept and sent.

import { signal } from '@preact/signals'

export const PANELS = ['transfers', 'images', 'export', 'events', 'project'] as const

export type Panel = (typeof PANELS)[number]

export interface Route {
  panel: Panel
  project: string | undefined
}

function read(): Route {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?')
  const panel = PANELS.find((known) => known === path) ?? 'transfers'
  return { panel, project: new URLSearchParams(query).get('project') ?? undefined }
}

export const route = signal<Route>(read())

addEventListener('hashchange', () => {
  route.value = read()
})

export function href({ panel, project }: Route): string {
  const query = project === undefined ? '' : `?${new URLSearchParams({ project })}`
  return `#/${panel}${query}`
}

export function go(change: Partial<Route>): void {
  location.hash = href({ ...route.peek(), ...change })
}

/** The same without a step that the browser can go back. */
export function become(change: Partial<Route>): void {
  history.replaceState(null, '', href({ ...route.peek(), ...change }))
  route.value = read()
}
