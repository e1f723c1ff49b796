import type { Export } from '@tidegate/client'

import { attempt } from '../app/notices.js'
import { bytes, dateTime } from '../format.js'
import { text } from '../text.js'
import { More } from '../ui/Button.js'
import { download } from './actions.js'
import type { History } from './history.js'

const { columns } = text.exports

interface Props {
  history: History | undefined
  /** Those of it that have ended. */
  ended: Export[]
  onMore: () => void
}

export function Archives({ history, ended, onMore }: Props) {
  return (
    <section class="card" aria-labelledby="archives-title">
      <h2 id="archives-title">{text.exports.history}</h2>
      {ended.length === 0 && <p class="empty">{history ? text.exports.none : text.loading}</p>}
      {ended.length > 0 && (
        <table class="cards archives">
          <thead>
            <tr>
              <th scope="col">{columns.name}</th>
              <th scope="col" class="state">
                {columns.state}
              </th>
              <th scope="col" class="number size">
                {columns.size}
              </th>
              <th scope="col" class="time">
                {columns.created}
              </th>
              <th scope="col" class="time">
                {columns.expires}
              </th>
              <th scope="col" class="actions">
                {columns.actions}
              </th>
            </tr>
          </thead>
          <tbody>
            {ended.map((archive) => (
              <Row key={archive.id} archive={archive} />
            ))}
          </tbody>
        </table>
      )}
      {history !== undefined && history.left > 0 && <More count={history.left} onClick={onMore} />}
    </section>
  )
}

function Row({ archive }: { archive: Export }) {
  const { projectName, userId, size, createdAt, expiresAt, downloadable } = archive
  const state = stateOf(archive)
  return (
    <tr>
      <td class="whole">
        <strong>
          <bdi>{projectName}</bdi>
        </strong>{' '}
        <span class="faint">{text.exports.by(userId)}</span>
        <Remarks archive={archive} />
      </td>
      <td>
        <span class={`badge ${state}`}>{text.operations.states[state]}</span>
      </td>
      <td class="number">{size === null ? text.unknown : bytes(size)}</td>
      <Time label={columns.created} time={createdAt} />
      <Time label={columns.expires} time={expiresAt} />
      <td class="whole">
        {downloadable && (
          <button
            type="button"
            aria-label={text.exports.download(projectName)}
            onClick={() => attempt(() => download(archive))}
          >
            {text.exports.downloadShort}
          </button>
        )}
      </td>
    </tr>
  )
}

function Time({ label, time }: { label: string; time: string | null }) {
  return (
    <td>
      <span class="narrow-label">{label} </span>
      {time === null ? text.unknown : <time dateTime={time}>{dateTime(time)}</time>}
    </td>
  )
}

/** What is not as one might expect. */
function Remarks({ archive: { cancelReason, error, warnings } }: { archive: Export }) {
  return (
    <>
      {cancelReason !== null && <p class="faint">{cancelReason}</p>}
      {error !== null && <p class="error">{error}</p>}
      {warnings.length > 0 && (
        <details>
          <summary>{text.exports.warnings(warnings.length)}</summary>
          <ul>
            {warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        </details>
      )}
    </>
  )
}

/** An archive that is no longer kept is as good as none, though it was completed once. */
function stateOf({ state, downloadable, expiresAt }: Export): keyof typeof text.operations.states {
  const isOver = expiresAt !== null && Date.parse(expiresAt) <= Date.now()
  return state === 'completed' && !downloadable && isOver ? 'expired' : state
}
