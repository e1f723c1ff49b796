import { useFeed } from '../app/feed.js'
import { path } from '../app/projects.js'
import { useRemote } from '../app/remote.js'
import { client } from '../app/session.js'
import { text } from '../text.js'
import { Bar } from '../ui/Bar.js'

interface Used {
  usedBytes: number
  quotaBytes: number | null
  completedUploads: number
  openUploads: number
}

/** How much is in the project, and how much may be. */
export function Usage({ projectId }: { projectId: string }) {
  const remote = useRemote((signal) => client.call<Used>('GET', path('projects', projectId, 'usage'), { signal }))
  useFeed(({ type }) => {
    // An upload is charged as a whole when it is created.
    if (type.startsWith('upload.') && type !== 'upload.progress') remote.reload()
  })
  const used = remote.value
  return (
    <section class="project-usage" aria-labelledby="usage-title">
      <h2 id="usage-title">{text.projects.usage}</h2>
      <strong>{used ? text.projects.usageOf(used.usedBytes, used.quotaBytes) : text.unknown}</strong>
      <p class="faint">
        {used
          ? `${text.projects.completed(used.completedUploads)}, ${text.projects.open(used.openUploads)}`
          : text.unknown}
      </p>
      <div class="project-quota">
        {typeof used?.quotaBytes === 'number' && (
          <Bar label={text.projects.usageBar} share={used.usedBytes / Math.max(1, used.quotaBytes)} />
        )}
      </div>
    </section>
  )
}
