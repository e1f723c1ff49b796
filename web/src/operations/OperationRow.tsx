import { amongTwins, inWords, type Name, uploadName } from '../app/names.js'
import { isActive, isCancellable, type Operation } from '../app/operation.js'
import { hasToken } from '../app/session.js'
import { duration, rate, shortId } from '../format.js'
import { text } from '../text.js'
import { Bar } from '../ui/Bar.js'
import { Button, Check } from '../ui/Button.js'
import { FileName } from '../ui/FileName.js'
import { useFocusKept } from '../ui/focus.js'

/** The heading above the rows. */
export const HEADING = 'operations-title'

/** An upload that has not moved for so long, in seconds, is said to stand still. */
const STALLED_S = 3

/** What it is called among rows of which some have the same name. */
export function nameOf({ kind, id, name, imageId }: Operation, twice?: ReadonlySet<string>): Name {
  if (kind === 'queue' && imageId !== undefined) {
    return { name: uploadName(imageId) ?? `${text.operations.unnamed.queue} ${shortId(imageId)}` }
  }
  if (name === undefined) return { name: `${text.operations.unnamed[kind]} ${shortId(id)}` }
  return kind === 'upload' && twice?.has(name) ? amongTwins(id, name) : { name }
}

interface Props {
  operation: Operation
  /** Names that others of the rows have as well. */
  twice: ReadonlySet<string>
  isSelected: boolean
  onToggle: () => void
  onCancel: () => void
}

export function OperationRow({ operation, twice, isSelected, onToggle, onCancel }: Props) {
  const called = nameOf(operation, twice)
  const name = inWords(called)
  const isLive = isActive(operation)
  const canCancel = isCancellable(operation)
  const row = useFocusKept<HTMLTableRowElement>(HEADING)
  const speed = isLive && operation.kind === 'upload' ? operation.meter.rate : undefined
  return (
    <tr ref={row} id={elementId(operation)} tabIndex={-1}>
      <td class="select">
        <Check
          aria-label={text.operations.select(name)}
          checked={isSelected && canCancel}
          isOff={!canCancel}
          onChange={onToggle}
        />
      </td>
      <td class="what">
        <span class="kind">{text.operations.kindOf(operation.kind, hasToken() ? operation.userId : null)}</span>{' '}
        <FileName {...called} />
      </td>
      <td class="whole">
        <Standing operation={operation} />
      </td>
      <td class="whole">
        <Bar label={name} share={operation.share} quiet={!isLive} />
        <span class="faint">{amount(operation)}</span>
      </td>
      <td class="number rate">{speed === undefined ? '' : rate(speed)}</td>
      <td class="number">{isLive ? <Moved operation={operation} /> : ''}</td>
      <td class="number whole">{isLive && <CancelButton operation={operation} name={name} onCancel={onCancel} />}</td>
    </tr>
  )
}

function elementId({ kind, id }: Operation): string {
  return `operation-${kind}-${id}`
}

type CancelProps = Pick<Props, 'operation' | 'onCancel'> & { name: string }

/** Once there is nothing to be cancelled, the focus is on what has become of it. */
function CancelButton({ operation, name, onCancel }: CancelProps) {
  return (
    <Button
      class="danger"
      isOff={!isCancellable(operation)}
      aria-label={text.operations.cancel(name)}
      element={useFocusKept<HTMLButtonElement>(elementId(operation))}
      onClick={onCancel}
    >
      {text.cancel}
    </Button>
  )
}

function amount({ kind, received, length, message }: Operation): string {
  if (kind !== 'upload') return message ?? ''
  return text.upload.of(received ?? 0, length ?? null)
}

/** The state, and what there is to say of it. */
function Standing({ operation }: { operation: Operation }) {
  const { state, interrupted, reason } = operation
  const isWaiting = interrupted && state === 'uploading'
  return (
    <>
      <span class={`badge ${isWaiting ? 'interrupted' : state}`}>
        {isWaiting ? text.operations.interrupted : text.operations.states[state]}
      </span>
      {reason !== undefined && <span class="told">“{reason}”</span>}
      {state === 'cancelled' && <span class="told">{end(operation)}</span>}
    </>
  )
}

function end({ stoppedInMs, freed = 0 }: Operation): string {
  return stoppedInMs === undefined ? text.operations.freed(freed) : text.operations.stopped(stoppedInMs, freed)
}

/** How long it has stood still. */
function Moved({ operation }: { operation: Operation }) {
  const seconds = operation.meter.stalledFor
  if (seconds < STALLED_S) return <>{text.operations.now}</>
  const isStalled = operation.state === 'uploading'
  return <span class={isStalled ? 'stalled' : ''}>{text.operations.ago(duration(seconds))}</span>
}
