import { text } from '../text.js'
import { Icon } from '../ui/Icon.js'
import { Words } from '../ui/Words.js'
import { dismiss, notices } from './notices.js'

/** Read out as they come. */
export function Notices() {
  return (
    <section class="notices" aria-label={text.notices} aria-live="polite">
      {notices.value.map(({ id, kind, text: words }) => (
        <p key={id} class={`notice ${kind}`}>
          <span>
            <Words of={words} />
          </span>
          <button type="button" class="quiet" aria-label={text.dismiss} onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </p>
      ))}
    </section>
  )
}
