import type { Export } from '@tidegate/client'
import { useRef } from 'preact/hooks'

import { stop } from '../app/cancel.js'
import { attempt } from '../app/notices.js'
import { ofExport } from '../app/operation.js'
import { text } from '../text.js'
import { Bar } from '../ui/Bar.js'
import { Button } from '../ui/Button.js'

/** The element of an archive that is being made. */
export function elementId(id: string): string {
  return `export-${id}`
}

/** The archives that are being made, whoever has started them. */
export function Running({ archives }: { archives: Export[] }) {
  const heading = useRef<HTMLHeadingElement>(null)
  const cancel = (archive: Export) => {
    // Its button goes with it, and the focus must not.
    heading.current?.focus()
    attempt(() => stop(ofExport(archive), archive.projectName, archive.projectId))
  }
  return (
    <section class="export-running" aria-labelledby="export-running-title">
      <h2 id="export-running-title" ref={heading} tabIndex={-1}>
        {text.exports.running}
      </h2>
      {archives.length === 0 && <p class="faint">{text.exports.idle}</p>}
      {archives.map((archive) => (
        <One key={archive.id} archive={archive} onCancel={() => cancel(archive)} />
      ))}
    </section>
  )
}

function One({ archive, onCancel }: { archive: Export; onCancel: () => void }) {
  const { id, projectName, userId, state, progress, message } = archive
  return (
    <article id={elementId(id)} class="export-one" tabIndex={-1} aria-label={projectName}>
      <div class="card-head">
        <span>
          <strong>
            <bdi>{projectName}</bdi>
          </strong>{' '}
          <span class="faint">{text.exports.by(userId)}</span>
        </span>
        <span class={`badge ${state}`}>{text.operations.states[state]}</span>
        <Button
          class="danger"
          aria-label={text.exports.cancel(projectName)}
          isOff={state === 'cancelling'}
          onClick={onCancel}
        >
          {text.cancel}
        </Button>
      </div>
      <Bar label={text.exports.progress(projectName)} share={state === 'processing' ? progress / 100 : undefined} />
      <p class="export-stage">{stageOf(archive)}</p>
      <p class="faint">{message}</p>
    </article>
  )
}

/** How far the stage is; nothing while the state says all. */
function stageOf({ stage, stageProgress }: Export): string {
  const name = text.exports.stages[stage]
  if (name === undefined) return ''
  if (stageProgress === null || stageProgress.total === 0) return name
  return `${name}: ${text.exports.stageProgress(stageProgress.current, stageProgress.total)}`
}
