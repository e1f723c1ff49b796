import { useRef } from 'preact/hooks'

import { notify } from '../app/notices.js'
import { text } from '../text.js'

interface Props {
  /** What it is. */
  label: string
  /** Nothing yet, if it is not known. */
  value: string | undefined
}

/** A text for other programs, with a button that copies it. */
export function Copyable({ label, value }: Props) {
  const shown = useRef<HTMLElement>(null)
  const copy = async () => {
    try {
      // There is no clipboard for a page that came neither over TLS nor from this machine.
      await navigator.clipboard.writeText(value ?? '')
      notify(text.copy.done(label))
    } catch {
      if (shown.current) getSelection()?.selectAllChildren(shown.current)
      notify(text.copy.refused, 'bad')
    }
  }
  return (
    <span class="copyable">
      <code ref={shown}>{value ?? text.unknown}</code>
      <button type="button" aria-label={text.copy.label(label)} disabled={value === undefined} onClick={copy}>
        {text.copy.submit}
      </button>
    </span>
  )
}
