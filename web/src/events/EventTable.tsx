import { useSignal } from '@preact/signals'
import { useId } from 'preact/hooks'

import { clock } from '../format.js'
import { text } from '../text.js'
import type { Told } from './recent.js'

const { columns } = text.events

export function EventTable({ rows }: { rows: readonly Told[] }) {
  return (
    <table class="cards events">
      <thead>
        <tr>
          <th scope="col" class="time">
            {columns.time}
          </th>
          <th scope="col" class="number sequence">
            {columns.sequence}
          </th>
          <th scope="col">{columns.type}</th>
          <th scope="col">{columns.subject}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((told) => (
          <Row key={told.number} told={told} />
        ))}
      </tbody>
    </table>
  )
}

/** Whether it is open is a signal, so that a row is drawn once and not with every event that comes after it. */
function Row({ told: { event } }: { told: Told }) {
  const isOpen = useSignal(false)
  const whole = useId()
  const toggle = () => {
    isOpen.value = !isOpen.value
  }
  return (
    <>
      <tr>
        <td>
          <time dateTime={event.time}>{clock(event.time)}</time>
        </td>
        <td class="number">{event.sequence ?? <span class="faint">{text.events.live}</span>}</td>
        <td class="whole">
          <button
            type="button"
            class="quiet mono event-type"
            aria-expanded={isOpen.value}
            aria-controls={isOpen.value ? whole : undefined}
            aria-label={text.events.details(event.type)}
            onClick={toggle}
          >
            {event.type}
          </button>
        </td>
        <td class="mono whole">{event.subject}</td>
      </tr>
      {isOpen.value && (
        <tr id={whole}>
          <td class="whole" colSpan={4}>
            <pre>{JSON.stringify(event, null, 2)}</pre>
          </td>
        </tr>
      )}
    </>
  )
}
