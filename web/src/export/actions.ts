// What can be done with archives.

import type { Export, TidegateEvent } from '@tidegate/client'
import { listen } from '../app/feed.js'
import { notify } from '../app/notices.js'
import { path } from '../app/projects.js'
import { client } from '../app/session.js'
import { text } from '../text.js'
import { save } from '../ui/save.js'

export interface Options {
  includeOriginalImages: boolean
  annotationFormats: string[]
  metricsFormats: string[]
}

/** Names of the archives that were started here, by their ids, until they are done. */
const started = new Map<string, string>()

/** How archives have ended. That of a small one may be told before the answer to its start. */
const ends = new Map<string, TidegateEvent>()

listen((event) => {
  if (event.type !== 'export.completed' && event.type !== 'export.failed') return
  ends.set(event.data.id, event)
  announce(event.data.id)
})

/** Tells of the end of an archive that was started here, also while another panel is open. */
function announce(id: string): void {
  const [name, end] = [started.get(id), ends.get(id)]
  if (name === undefined || end === undefined) return
  started.delete(id)
  if (end.type === 'export.completed') notify(text.exports.ready(name))
  else notify(text.exports.failed(name, String(end.data.message)), 'bad')
}

export async function start(projectId: string, options: Options, projectName: string): Promise<void> {
  const answer = await client.fetch('POST', path('projects', projectId, 'export'), { body: { options, projectName } })
  const { jobId } = (await answer.json()) as { jobId: string }
  started.set(jobId, projectName)
  announce(jobId)
}

/** A link cannot carry a login, so it is lent one. The browser writes the archive to the disk as it comes. */
export async function download({ id, projectId }: Export): Promise<void> {
  const archive = path('projects', projectId, 'export', id)
  const { token } = await client.call<{ token: string }>('POST', `${archive}/download-token`)
  // Should it be refused, that is a failed download, and not another page in the place of this one and its uploads.
  save(client.url(`${archive}/download`, { token }).href)
}
