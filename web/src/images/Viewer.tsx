import { useEffect, useState } from 'preact/hooks'

import { attempt, notify } from '../app/notices.js'
import { text } from '../text.js'
import { Button } from '../ui/Button.js'
import { Dialog } from '../ui/Dialog.js'
import { isolate } from '../ui/isolate.js'
import { Download } from './Download.js'
import { Facts } from './Facts.js'
import { type Entry, entries, nameOf, showMore, total } from './gallery.js'
import { hasQueue } from './queue.js'
import { SegmentButton } from './SegmentButton.js'
import { Model, Threshold } from './Settings.js'
import { Stage } from './Stage.js'
import { failureOf, Status } from './Tile.js'
import { useImageResult, usePicture } from './viewing.js'

const words = text.images

interface Props {
  project: string
  opened: Entry
  open: (entry: Entry | undefined) => void
}

/** An image in large, with what was found in it. */
export function Viewer({ project, opened, open }: Props) {
  const [hasOutlines, setOutlines] = useState(true)
  const picture = usePicture(opened)
  const result = useImageResult(opened)
  const image = opened.image.value
  const failure = failureOf(opened)
  const { place, go } = usePlace(project, opened, open)
  return (
    <Dialog title={isolate(nameOf(image))} wide onClose={() => open(undefined)}>
      <Stage image={image} picture={picture} result={result} hasOutlines={hasOutlines} />
      <div class="row viewer-bar">
        <Button isOff={place === 1} onClick={() => go(-1)}>
          ← {words.viewer.previous}
        </Button>
        <span class="faint">{words.viewer.place(place, total.value)}</span>
        <Button isOff={place >= total.value} onClick={() => go(1)}>
          {words.viewer.next} →
        </Button>
        {hasQueue() && <Outlines hasOutlines={hasOutlines} setOutlines={setOutlines} />}
      </div>
      {failure !== undefined && <p class="error viewer-failure">{words.viewer.failed(failure)}</p>}
      {hasQueue() && (failure === undefined || result) && <Facts result={result} />}
      <div class="row viewer-bar">
        {hasQueue() && (
          <span class="viewer-state">
            <Status entry={opened} />
          </span>
        )}
        {hasQueue() && <Model />}
        {hasQueue() && <Threshold />}
        <div class="dialog-actions">
          {hasQueue() && <SegmentButton entry={opened} project={project} />}
          <Download image={image} />
        </div>
      </div>
    </Dialog>
  )
}

interface OutlinesProps {
  hasOutlines: boolean
  setOutlines: (hasOutlines: boolean) => void
}

function Outlines({ hasOutlines, setOutlines }: OutlinesProps) {
  return (
    <>
      <label class="check">
        <input type="checkbox" checked={hasOutlines} onChange={(event) => setOutlines(event.currentTarget.checked)} />
        {words.viewer.outlines}
      </label>
      <span class="viewer-key object">{words.viewer.objectKey}</span>
      <span class="viewer-key hole">{words.viewer.holeKey}</span>
    </>
  )
}

/** Where it is among the others, and how to come to them. */
function usePlace(project: string, opened: Entry, open: Props['open']) {
  const shown = entries.value ?? []
  const place = shown.indexOf(opened) + 1
  const go = async (step: 1 | -1) => {
    const next = place + step
    if (next > shown.length && shown.length < total.peek()) await attempt(() => showMore(project))
    const entry = entries.peek()?.[next - 1]
    if (place > 0 && entry) open(entry)
  }
  useEffect(() => {
    if (place > 0) return
    if (opened.isDeleted) notify(words.deleted(nameOf(opened.image.peek())))
    open(undefined)
  }, [place, opened, open])
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const step = ({ ArrowLeft: -1, ArrowRight: 1 } as const)[event.key]
      const isTyping = event.target instanceof Element && event.target.matches('input[type=range], select')
      if (step === undefined || isTyping || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return
      event.preventDefault()
      go(step)
    }
    document.addEventListener('keydown', press)
    return () => document.removeEventListener('keydown', press)
  })
  return { place, go }
}
