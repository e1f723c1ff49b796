import { useEffect, useRef, useState } from 'preact/hooks'

import { epoch } from '../app/feed.js'
import { bytes } from '../format.js'
import { text } from '../text.js'
import { Bar } from '../ui/Bar.js'
import { FileName } from '../ui/FileName.js'
import type { Unshown } from './bounds.js'
import { calledOf, type Entry, isActive, nameOf } from './gallery.js'
import { extension, mayBePicture } from './picture.js'
import { hasQueue } from './queue.js'
import { SegmentButton } from './SegmentButton.js'
import { keptThumbnail, makeThumbnail, type Nearness, type Thumbnail } from './thumbnails.js'
import type { ProjectImage } from './types.js'

const words = text.images

interface Props {
  entry: Entry
  project: string
  nearness: Nearness
  open: (entry: Entry) => void
}

export function Tile({ entry, project, nearness, open }: Props) {
  const image = entry.image.value
  const name = nameOf(image)
  return (
    <li class="tile">
      <button type="button" class="tile-open" onClick={() => open(entry)}>
        <span class="visually-hidden">{words.open(name)}</span>
        <Preview image={image} nearness={nearness} />
      </button>
      {hasQueue() && (
        <label class="tile-select">
          <input
            type="checkbox"
            aria-label={words.select(name)}
            checked={entry.selected.value}
            onChange={(event) => {
              entry.selected.value = event.currentTarget.checked
            }}
          />
        </label>
      )}
      <p class="tile-name" title={name}>
        <FileName {...calledOf(image)} />
      </p>
      <p class="tile-state">
        {hasQueue() && <Status entry={entry} />}
        <span class="faint">{bytes(image.size)}</span>
      </p>
      {/* What is no picture can be segmented from the viewer, should a worker know better. */}
      {hasQueue() && (mayBePicture(image) || isActive(image.segmentationStatus)) && (
        <SegmentButton entry={entry} project={project} />
      )}
    </li>
  )
}

/** Why an image could not be segmented, if that is known. */
export function failureOf({ image, failure }: Entry): string | undefined {
  return image.value.segmentationStatus === 'failed' ? failure.value : undefined
}

/** How far the segmentation of an image is, in words, and by a bar while somebody works on it. */
export function Status({ entry }: { entry: Entry }) {
  const image = entry.image.value
  const status = image.segmentationStatus
  const failure = failureOf(entry)
  if (failure !== undefined) {
    return (
      <span class="tile-failure" title={failure}>
        <span class="badge failed">{words.status.failed}</span>
        <span class="visually-hidden">: {failure}</span>
      </span>
    )
  }
  if (status !== 'processing') return <span class={`badge ${status}`}>{words.status[status]}</span>
  const progress = entry.item.value?.progress
  return (
    <>
      <span class="badge processing">{words.status.processing}</span>
      <Bar label={words.progress(nameOf(image))} share={progress === undefined ? undefined : progress / 100} />
    </>
  )
}

/** The small picture, as soon as its place is nearly seen; until then, and without one, the kind of the file. */
function Preview({ image, nearness }: { image: ProjectImage; nearness: Nearness }) {
  const frame = useRef<HTMLSpanElement>(null)
  const [thumbnail, setThumbnail] = useState<Thumbnail | undefined>(() => keptThumbnail(image.id))
  const latest = useRef(image)
  latest.current = image
  const anew = epoch.value
  const isDone = thumbnail !== undefined && 'url' in thumbnail
  // A connection that was lost may be why there is none.
  useEffect(() => {
    if (isDone || frame.current === null) return
    return nearness.watch(frame.current, (signal) => {
      const shown = keptThumbnail(latest.current.id)
      if (shown) return setThumbnail(shown)
      // If it cannot be read, it is tried again when it is seen again.
      makeThumbnail(latest.current, signal).then(setThumbnail, () => {})
    })
  }, [isDone, nearness, anew])
  return (
    <span class="tile-frame" ref={frame}>
      {isDone ? <img src={thumbnail.url} alt="" decoding="async" /> : <Kind image={image} why={thumbnail?.why} />}
    </span>
  )
}

/** What is shown of a file that is no picture. */
export function Kind({ image, why }: { image: ProjectImage; why?: Unshown['why'] | undefined }) {
  return (
    <span class="tile-kind">
      <span class="tile-extension">{extension(image) || words.file}</span>
      {why && <span>{words.unshown[why]}</span>}
    </span>
  )
}
