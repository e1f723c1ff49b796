import { attempt, notify } from '../app/notices.js'
import { text } from '../text.js'
import { type Entry, isActive, nameOf } from './gallery.js'
import { segment, stop } from './queue.js'

const words = text.images

interface Props {
  entry: Entry
  project: string
}

/** Begins what is done with an image, and stops it. It is one button, so that the focus stays where it is. */
export function SegmentButton({ entry, project }: Props) {
  const image = entry.image.value
  const name = nameOf(image)
  const runs = isActive(image.segmentationStatus)
  // Not `disabled`, which would take the focus away.
  const isAsked = entry.asked.value === (runs ? 'stop' : 'segment')
  const press = (event: MouseEvent) => {
    // The second click of a double one was not meant for what the button has become.
    if (isAsked || event.detail > 1) return
    attempt(() => (runs ? tellStopped(entry, project) : segment(entry)))
  }
  const hasResult = image.segmentationStatus === 'segmented'
  return (
    <button
      type="button"
      class={runs ? 'danger' : ''}
      aria-label={runs ? words.stopName(name) : words.segmentName(name, hasResult)}
      aria-disabled={isAsked}
      onClick={press}
    >
      {runs ? words.stop : hasResult ? words.again : words.segment}
    </button>
  )
}

async function tellStopped(entry: Entry, project: string): Promise<void> {
  const name = nameOf(entry.image.peek())
  const inMs = await stop(entry, project)
  notify(inMs === undefined ? words.late(name) : words.stopped(name, inMs))
}
