import { signal } from '@preact/signals'
import { useEffect, useState } from 'preact/hooks'

import { epoch, useFeed } from '../app/feed.js'
import { attempt, complain } from '../app/notices.js'
import { projectId } from '../app/projects.js'
import { href } from '../app/route.js'
import { text } from '../text.js'
import { More } from '../ui/Button.js'
import { Unread } from '../ui/Unread.js'
import { type Entry, entries, loadImages, PAGE, showMore, stale, tell, total } from './gallery.js'
import './images.css'
import { loadHealth, seenWorker } from './queue.js'
import { Settings } from './Settings.js'
import { Tile } from './Tile.js'
import { forgetFailures, Nearness } from './thumbnails.js'
import { closeTiff } from './tiff.js'
import { Viewer } from './Viewer.js'

/** Whether workers are there is asked so often. */
const HEALTH_MS = 15_000

const words = text.images
const unread = signal(false)
/** Before it is known what is above the grid, the grid would have to move. */
const isHealthAsked = signal(false)

export function ImagesPanel() {
  const project = projectId.value
  const [opened, open] = useState<Entry>()
  const [nearness] = useState(() => new Nearness())
  useFeed((event) => {
    tell(event)
    if (event.type === 'queue.item.processing' || event.type === 'queue.item.progress') seenWorker()
  })
  useReading(project)
  useEffect(() => closeTiff, [])
  useEffect(() => open(undefined), [project])
  if (project === undefined) return null
  return (
    <section class="card images" aria-labelledby="images-title">
      <header class="card-head">
        <h1 id="images-title" tabIndex={-1}>
          {words.title}
        </h1>
        {entries.value && <span class="faint">{words.shown(entries.value.length, total.value)}</span>}
      </header>
      <Settings project={project} />
      <Grid project={project} nearness={nearness} open={open} />
      {opened && <Viewer project={project} opened={opened} open={open} />}
    </section>
  )
}

/** Reads the list and how the queue is, at first and whenever they may be others. */
function useReading(project: string | undefined): void {
  const [anew, changed] = [epoch.value, stale.value]
  useEffect(() => forgetFailures(), [anew])
  // The counts say that it is to be read anew.
  useEffect(() => {
    if (project === undefined || anew === 0) return
    const reading = new AbortController()
    read(project, reading.signal)
    return () => reading.abort()
  }, [project, anew, changed])
  useEffect(() => {
    if (anew === 0) return
    const asking = new AbortController()
    ask(asking.signal)
    // What fails now and then is told once, at the beginning.
    const timer = setInterval(() => loadHealth(asking.signal).catch(() => {}), HEALTH_MS)
    return () => {
      clearInterval(timer)
      asking.abort()
    }
  }, [anew])
}

async function ask(signal: AbortSignal): Promise<void> {
  try {
    await loadHealth(signal)
  } catch (error) {
    if (!signal.aborted) complain(error)
  }
  if (!signal.aborted) isHealthAsked.value = true
}

async function read(project: string, signal: AbortSignal): Promise<void> {
  unread.value = false
  try {
    await loadImages(project, signal)
  } catch (error) {
    if (signal.aborted) return
    unread.value = true
    complain(error)
  }
}

function readAgain(): void {
  stale.value += 1
}

interface GridProps {
  project: string
  nearness: Nearness
  open: (entry: Entry) => void
}

function Grid({ project, nearness, open }: GridProps) {
  const [isBusy, setBusy] = useState(false)
  const shown = entries.value
  if (shown === undefined || !isHealthAsked.value)
    return unread.value ? (
      <Unread words={words.unread} onAgain={readAgain} heading="images-title" />
    ) : (
      <p class="empty">{text.loading}</p>
    )
  if (shown.length === 0) {
    return (
      <p class="empty">
        {words.none} <a href={href({ panel: 'transfers', project })}>{words.uploadSome}</a>
      </p>
    )
  }
  const more = async () => {
    setBusy(true)
    await attempt(() => showMore(project))
    setBusy(false)
  }
  return (
    <>
      <ul class="images-grid">
        {shown.map((entry) => (
          <Tile key={entry.id} entry={entry} project={project} nearness={nearness} open={open} />
        ))}
      </ul>
      {shown.length < total.value && (
        <More class="images-more" count={Math.min(PAGE, total.value - shown.length)} isOff={isBusy} onClick={more} />
      )}
    </>
  )
}
