import { projectId } from '../app/projects.js'
import { text } from '../text.js'
import { Archives } from './Archives.js'
import { ExportForm } from './ExportForm.js'
import { isRunning, useHistory } from './history.js'
import { elementId, Running } from './Running.js'
import './export.css'

export function ExportPanel() {
  const id = projectId.value
  return id === undefined ? null : <ExportsOf key={id} projectId={id} />
}

function ExportsOf({ projectId }: { projectId: string }) {
  const { history, reload, more } = useHistory(projectId)
  const archives = history?.archives ?? []
  const show = async (running?: string) => {
    await reload()
    if (running === undefined) return
    // The list that was read is in the page with the next frame.
    requestAnimationFrame(() => document.getElementById(elementId(running))?.focus())
  }
  return (
    <>
      <section class="card" aria-labelledby="export-title">
        <header class="card-head">
          <h1 id="export-title">{text.exports.title}</h1>
        </header>
        {history === null ? (
          <p class="empty">{text.exports.absent}</p>
        ) : (
          <>
            <p class="hint">{text.exports.lead}</p>
            <div class="export-columns">
              <ExportForm projectId={projectId} onStarted={show} />
              <Running archives={archives.filter(isRunning)} />
            </div>
          </>
        )}
      </section>
      {history !== null && (
        <Archives history={history} ended={archives.filter((archive) => !isRunning(archive))} onMore={more} />
      )}
    </>
  )
}
