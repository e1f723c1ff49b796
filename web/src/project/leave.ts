import { loadProjects, projects } from '../app/projects.js'
import { go } from '../app/route.js'
import { keepFocus } from '../ui/focus.js'

/** Opens the project behind one that the user has no longer, or else the one before it. */
export async function leave(projectId: string): Promise<void> {
  const known = projects.peek() ?? []
  const place = known.findIndex(({ id }) => id === projectId)
  const next = known[place + 1] ?? known[place - 1]
  go({ project: next?.id })
  await loadProjects()
  keepFocus()
}
