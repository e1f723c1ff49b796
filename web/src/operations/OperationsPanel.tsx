import { useSignal } from '@preact/signals'
import { useId, useState } from 'preact/hooks'

import './operations.css'

import { stop } from '../app/cancel.js'
import { twins } from '../app/names.js'
import { attempt } from '../app/notices.js'
import { hasJustEnded, isActive, isCancellable, keyOf, type Operation, STATES, type State } from '../app/operation.js'
import { operations, readAgain, reading, unlisted } from '../app/operations.js'
import { projectId } from '../app/projects.js'
import { useSeconds } from '../app/ticking.js'
import { text } from '../text.js'
import { Button, Check, More } from '../ui/Button.js'
import { useFocusOverMoves } from '../ui/focus.js'
import { Unread } from '../ui/Unread.js'
import { BulkCancel } from './BulkCancel.js'
import { HEADING, nameOf, OperationRow } from './OperationRow.js'

const GROUPS = ['active', 'ended', 'all'] as const
type Group = (typeof GROUPS)[number]

/** All of a group, or those in one state. */
type Filter = Group | State

const STEP = 100

export function OperationsPanel() {
  useSeconds()
  const [filter, setFilter] = useState<Filter>('active')
  const [reason, setReason] = useState('')
  const [shown, setShown] = useState(STEP)
  const [asking, setAsking] = useState<Operation[]>([])
  const selected = useSignal<ReadonlySet<string>>(new Set())
  const rows = operations.value.filter((one) => isShown(one, filter)).reverse()
  const chosen = rows.filter((one) => isCancellable(one) && selected.value.has(keyOf(one)))
  const visible = rows.slice(0, shown)
  const select = (keys: ReadonlySet<string>) => {
    selected.value = keys
  }
  const stated = reason.trim() || undefined
  return (
    <section class="card operations" aria-labelledby={HEADING}>
      <div class="card-head">
        <h1 id={HEADING} tabIndex={-1}>
          {text.operations.title}
        </h1>
        <p role="status" class="faint">
          {reading.value === 'read' && text.operations.running(operations.value.filter(isActive).length)}
        </p>
        <FilterChoice filter={filter} onChange={setFilter} />
      </div>
      <p class="faint">{text.operations.lead}</p>
      <div class="row tools">
        <label class="reason">
          <span>{text.operations.reason}</span>
          <input
            value={reason}
            maxLength={200}
            placeholder={text.operations.reasonHint}
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        </label>
        <SelectAll rows={visible} selected={selected.value} onSelect={select} />
        <Button class="danger" isOff={chosen.length === 0} onClick={() => setAsking(chosen)}>
          {text.operations.bulk(chosen.length)}
        </Button>
      </div>
      <Table
        rows={visible}
        selected={selected.value}
        onSelect={select}
        onCancel={(operation) => attempt(() => cancelOne(operation, stated))}
      />
      <Nothing filter={filter} isEmpty={rows.length === 0} />
      {rows.length > shown && (
        <More count={Math.min(STEP, rows.length - shown)} onClick={() => setShown(shown + STEP)} />
      )}
      {unlisted.value > 0 && filter !== 'ended' && <p class="faint">{text.operations.unlisted(unlisted.value)}</p>}
      {asking.length > 0 && <BulkCancel chosen={asking} reason={stated} onClose={() => setAsking([])} />}
    </section>
  )
}

async function cancelOne(operation: Operation, reason: string | undefined): Promise<void> {
  const project = projectId.peek()
  if (project !== undefined) await stop(operation, nameOf(operation).name, project, reason)
}

function isShown(operation: Operation, filter: Filter): boolean {
  if (filter === 'active') return isActive(operation) || hasJustEnded(operation)
  if (filter === 'ended') return !isActive(operation)
  return filter === 'all' || filter === operation.state
}

/** What is told if there are no rows, or may be others. */
function Nothing({ filter, isEmpty }: { filter: Filter; isEmpty: boolean }) {
  // Those that have ended are not read.
  const state = filter === 'ended' ? 'read' : reading.value
  if (state === 'unread') return <Unread words={text.operations.unread} onAgain={readAgain} heading={HEADING} />
  if (!isEmpty) return null
  return <p class="empty">{state === 'read' ? noneOf(filter) : text.loading}</p>
}

function noneOf(filter: Filter): string {
  const { none } = text.operations
  return filter in none ? none[filter as Group] : none.state
}

function FilterChoice({ filter, onChange }: { filter: Filter; onChange: (filter: Filter) => void }) {
  const { filters, states } = text.operations
  return (
    <label class="row filter">
      <span>{text.operations.filter}</span>
      <select value={filter} onChange={(event) => onChange(event.currentTarget.value as Filter)}>
        <optgroup label={filters.group}>
          {GROUPS.map((group) => (
            <option key={group} value={group}>
              {filters[group]}
            </option>
          ))}
        </optgroup>
        <optgroup label={filters.state}>
          {STATES.map((state) => (
            <option key={state} value={state}>
              {states[state]}
            </option>
          ))}
        </optgroup>
      </select>
    </label>
  )
}

interface SelectProps {
  rows: Operation[]
  selected: ReadonlySet<string>
  onSelect: (keys: ReadonlySet<string>) => void
}

/** Not in the head of the table, which is not seen where there is no room for columns. */
function SelectAll({ rows, selected, onSelect }: SelectProps) {
  const cancellable = rows.filter(isCancellable).map(keyOf)
  const box = useId()
  const isAll = cancellable.length > 0 && cancellable.every((key) => selected.has(key))
  return (
    <label class="check" for={box}>
      <Check
        id={box}
        checked={isAll}
        isOff={cancellable.length === 0}
        onChange={() => onSelect(new Set(isAll ? [] : cancellable))}
      />
      {text.operations.selectAll}
    </label>
  )
}

interface TableProps extends SelectProps {
  onCancel: (operation: Operation) => void
}

function Table({ rows, selected, onSelect, onCancel }: TableProps) {
  useFocusOverMoves()
  const toggle = (key: string) => {
    const next = new Set(selected)
    if (!next.delete(key)) next.add(key)
    onSelect(next)
  }
  const { columns } = text.operations
  const twice = twins(rows.filter(({ kind }) => kind === 'upload').map(({ name }) => name))
  return (
    <table class="cards">
      <caption class="visually-hidden">{text.operations.title}</caption>
      <thead>
        <tr>
          <th scope="col" class="select">
            <span class="visually-hidden">{columns.select}</span>
          </th>
          <th scope="col">{columns.what}</th>
          <th scope="col" class="state">
            {columns.state}
          </th>
          <th scope="col" class="wide">
            {columns.progress}
          </th>
          <th scope="col" class="number rate">
            {columns.rate}
          </th>
          <th scope="col" class="number moved">
            {columns.moved}
          </th>
          <th scope="col" class="number act">
            {columns.actions}
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((operation) => (
          <OperationRow
            key={keyOf(operation)}
            operation={operation}
            twice={twice}
            isSelected={selected.has(keyOf(operation))}
            onToggle={() => toggle(keyOf(operation))}
            onCancel={() => onCancel(operation)}
          />
        ))}
      </tbody>
    </table>
  )
}
