import { useId, useState } from 'preact/hooks'

import { feedState } from '../app/feed.js'
import { text } from '../text.js'
import { Copyable } from '../ui/Copyable.js'
import { EventTable } from './EventTable.js'
import { fits } from './filter.js'
import { clear, goOn, heldBack, hold, isHeld, shown } from './recent.js'
import './events.css'

/** Rows at once: more than anybody reads, and few enough to be drawn in a frame. */
const ROWS_MAX = 200

export function EventsPanel() {
  const [filter, setFilter] = useState('')
  const kept = shown.value
  const fitting = kept.filter(({ event }) => fits(event.type, filter))
  const rows = fitting.slice(0, ROWS_MAX)
  return (
    <section class="card" aria-labelledby="events-title">
      <header class="card-head">
        <h1 id="events-title">{text.events.title}</h1>
      </header>
      <p class="hint">{text.events.lead}</p>
      <Connection />
      <Controls filter={filter} onFilter={setFilter} />
      {/* Not a live region: what a busy project is told would talk a screen reader's user down. */}
      <p class="hint">
        {text.events.summary(rows.length, fitting.length, kept.length)}
        {isHeld.value && `, ${text.events.held(heldBack.value)}`}
      </p>
      {rows.length > 0 ? (
        <EventTable rows={rows} />
      ) : (
        <p class="empty">{kept.length === 0 ? text.events.none : text.events.noneFit}</p>
      )}
    </section>
  )
}

function Connection() {
  const state = feedState.value
  return (
    <dl class="facts events-connection">
      <dt>{text.events.status}</dt>
      <dd>{text.feed[state?.status ?? 'connecting']}</dd>
      <dt>{text.events.transportLabel}</dt>
      <dd>{state === undefined ? text.unknown : text.events.transport[state.transport]}</dd>
      <dt>{text.events.cursor}</dt>
      <dd>
        <Copyable label={text.events.cursor} value={state?.cursor} />
        <p class="hint">{text.events.cursorHint}</p>
      </dd>
    </dl>
  )
}

interface ControlsProps {
  filter: string
  onFilter: (filter: string) => void
}

function Controls({ filter, onFilter }: ControlsProps) {
  const id = useId()
  return (
    <div class="row events-controls">
      <label for={id}>{text.events.filter}</label>
      <input
        id={id}
        type="search"
        autocomplete="off"
        spellcheck={false}
        placeholder={text.events.filterHint}
        value={filter}
        onInput={(event) => onFilter(event.currentTarget.value)}
      />
      <button type="button" class="hold" onClick={isHeld.value ? goOn : hold}>
        {isHeld.value ? text.events.resume : text.events.pause}
      </button>
      <button type="button" onClick={clear}>
        {text.events.clear}
      </button>
    </div>
  )
}
