import { text } from '../text.js'
import { useFocusKept } from './focus.js'

interface Props {
  words: string
  onAgain: () => void
  /** What gets the focus when it has been read. */
  heading: string
}

/** In the place of what could not be read. */
export function Unread({ words, onAgain, heading }: Props) {
  const area = useFocusKept<HTMLDivElement>(heading)
  return (
    <div class="empty" ref={area}>
      <p>{words}</p>
      <button type="button" onClick={onAgain}>
        {text.retry}
      </button>
    </div>
  )
}
