import { attempt } from '../app/notices.js'
import { loadProjects, projects } from '../app/projects.js'
import { href } from '../app/route.js'
import { text } from '../text.js'
import { First } from './ProjectPanel.js'
import { useRefresh } from './refresh.js'

/** In the place of a project that the user has not, or has no longer. Another one is opened by the user, or not at all. */
export function Gone() {
  useRefresh(() => attempt(loadProjects))
  const [first] = projects.value ?? []
  if (first === undefined) return <First isLost />
  return (
    <section class="card" aria-labelledby="gone-title">
      <h1 id="gone-title">{text.projects.lost}</h1>
      <p>
        <a href={href({ panel: 'transfers', project: first.id })}>{text.projects.goTo(first.title)}</a>
      </p>
    </section>
  )
}
