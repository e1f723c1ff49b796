// The archives of a project: as they were read, and as events have changed them since.

import { type Export, TidegateError, type TidegateEvent } from '@tidegate/client'
import { useEffect, useState } from 'preact/hooks'

import { useFeed } from '../app/feed.js'
import { useRemote } from '../app/remote.js'
import { client } from '../app/session.js'

const PAGE = 50

export interface History {
  /** Newest first. */
  archives: Export[]
  /** How many there are beyond these. */
  left: number
}

const RUNNING: Export['state'][] = ['queued', 'processing', 'cancelling']

export function isRunning({ state }: Export): boolean {
  return RUNNING.includes(state)
}

/** The history is `null` where the server does not export. */
export function useHistory(projectId: string) {
  const [pages, setPages] = useState(1)
  const remote = useRemote<History | null>((signal) => read(projectId, pages, signal))
  useFeed((event) => {
    if (!event.type.startsWith('export.')) return
    remote.change((history) => history && tell(history, event))
    if (event.type !== 'export.progress') remote.reload()
  })
  useEffect(() => {
    if (pages > 1) remote.reload()
  }, [pages])
  return { history: remote.value, reload: remote.reload, more: () => setPages(pages + 1) }
}

/** All pages that are shown, since a new archive moves the others. */
async function read(projectId: string, pages: number, signal: AbortSignal): Promise<History | null> {
  try {
    const found = new Map<string, Export>()
    for (let page = 1; ; page += 1) {
      const { data, pagination } = await client.exports(projectId, { page, limit: PAGE, signal })
      for (const archive of data) found.set(archive.id, archive)
      if (page < pages && page < pagination.totalPages) continue
      return { archives: [...found.values()], left: Math.max(0, pagination.total - found.size) }
    }
  } catch (error) {
    if (error instanceof TidegateError && error.status === 404) return null
    throw error
  }
}

/** What an event says of an archive is newer than what was read. */
function tell(history: History, { data }: TidegateEvent): History {
  const { state, progress, stage, message, stageProgress = null } = data as unknown as Export
  const archives = history.archives.map((archive) =>
    archive.id === data.id ? { ...archive, state, progress, stage, message, stageProgress } : archive,
  )
  return { ...history, archives }
}
