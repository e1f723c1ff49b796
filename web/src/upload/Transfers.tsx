import type { ComponentProps } from 'preact'
import { useState } from 'preact/hooks'

import { useSeconds } from '../app/ticking.js'
import { bytes, duration, rate } from '../format.js'
import { text } from '../text.js'
import { Bar } from '../ui/Bar.js'
import { Button, More } from '../ui/Button.js'
import { useFocusKept, useFocusOverMoves } from '../ui/focus.js'
import { Icon } from '../ui/Icon.js'
import {
  clearFinished,
  files,
  finished,
  forget,
  type Lost,
  lost,
  meterOf,
  resumePaused,
  type Sent,
  type Standing,
  standing,
  uppy,
} from './sending.js'

const STEP = 50

/** Where the focus goes when what had it is gone. */
const SUMMARY = 'files-summary'

/** What needs somebody comes first, what is over last. In between a row stays where it is, and so does the focus. */
const RANK: Record<Standing, number> = { failed: 0, missing: 0, sending: 1, paused: 1, waiting: 1, done: 2 }

export function Transfers() {
  useSeconds()
  useFocusOverMoves()
  const [shown, setShown] = useState(STEP)
  const sorted = Map.groupBy(files.value, (file) => RANK[standing(file)])
  const all = [0, 1, 2].flatMap((rank) => sorted.get(rank) ?? [])
  const count = all.length + lost.value.length
  if (count === 0) return null
  const rest = all.length - shown
  return (
    <div class="sending">
      <Controls count={count} />
      <table class="cards">
        <caption class="visually-hidden">{text.upload.files}</caption>
        <thead>
          <tr>
            <th scope="col">{text.upload.columns.name}</th>
            <th scope="col" class="wide">
              {text.upload.columns.progress}
            </th>
            <th scope="col" class="number">
              {text.upload.columns.rate}
            </th>
            <th scope="col" class="number">
              {text.upload.columns.eta}
            </th>
            <th scope="col" class="number">
              {text.upload.columns.actions}
            </th>
          </tr>
        </thead>
        <tbody>
          {lost.value.map((one) => (
            <LostRow key={`lost ${one.id}`} one={one} />
          ))}
          {all.slice(0, shown).map((file) => (
            <Row key={file.id} file={file} />
          ))}
        </tbody>
      </table>
      {rest > 0 && <More count={Math.min(STEP, rest)} onClick={() => setShown(shown + STEP)} />}
    </div>
  )
}

function Controls({ count }: { count: number }) {
  const standings = files.value.map(standing)
  const isAny = (...wanted: Standing[]) => standings.some((one) => wanted.includes(one))
  return (
    <div class="row controls">
      <p id={SUMMARY} tabIndex={-1} role="status">
        {text.upload.summary(count, standings.filter((one) => one === 'done').length)}
      </p>
      <Button isOff={!isAny('sending', 'waiting')} onClick={() => uppy.pauseAll()}>
        {text.upload.pauseAll}
      </Button>
      <Button isOff={!isAny('paused')} onClick={resumeAll}>
        {text.upload.resumeAll}
      </Button>
      <Button class="danger" isOff={standings.every((one) => one === 'done')} onClick={cancelAll}>
        {text.upload.cancelAll}
      </Button>
      <Button element={useFocusKept<HTMLButtonElement>()} isOff={finished.value === 0} onClick={clearFinished}>
        {text.upload.clear}
      </Button>
    </div>
  )
}

/** After a reload nothing is sent before that is confirmed. */
function resumeAll(): void {
  if (uppy.getState().recoveredState === null) resumePaused()
  else uppy.emit('restore-confirmed')
}

/** What is uploaded stays, here and on the server. */
function cancelAll(): void {
  uppy.addNoMore()
  uppy.removeFiles(
    uppy
      .getFiles()
      .filter((file) => standing(file) !== 'done')
      .map(({ id }) => id),
  )
}

function Row({ file }: { file: Sent }) {
  const name = nameOf(file)
  const state = standing(file)
  const sent = state === 'done' ? (file.size ?? 0) : Number(file.progress.bytesUploaded) || 0
  const share = file.size ? sent / file.size : state === 'done' ? 1 : 0
  const meter = meterOf(file)
  const left = meter?.secondsTo(file.size)
  return (
    <tr ref={useFocusKept<HTMLTableRowElement>(SUMMARY)}>
      <td class="whole">
        <bdi class="file-name">{name}</bdi> <span class={`badge ${state}`}>{text.upload.state[state]}</span>
        {state === 'failed' && <p class="error">{file.error}</p>}
      </td>
      <td class="whole">
        <Bar label={name} share={share} quiet={state !== 'sending'} />
        <span class="faint">{text.upload.of(sent, file.size)}</span>
      </td>
      <td class="number">{meter?.rate === undefined ? '' : rate(meter.rate)}</td>
      <td class="number">{left === undefined ? '' : duration(left)}</td>
      <td class="number whole">
        <Actions file={file} name={name} state={state} />
      </td>
    </tr>
  )
}

function Actions({ file: { id }, name, state }: { file: Sent; name: string; state: Standing }) {
  const remove = () => uppy.removeFile(id)
  const cancel = useFocusKept<HTMLButtonElement>(SUMMARY)
  return (
    <>
      <Toggle id={id} name={name} state={state} />
      {state !== 'done' && (
        <button ref={cancel} type="button" class="danger" aria-label={text.upload.cancel(name)} onClick={remove}>
          {text.cancel}
        </button>
      )}
    </>
  )
}

/** It is one button, so that the focus stays where it is. */
function Toggle({ id, name, state }: { id: string; name: string; state: Standing }) {
  const words = text.upload
  if (state === 'missing') return null
  if (state === 'done') return <Act label={words.remove(name)} icon="close" onClick={() => uppy.removeFile(id)} />
  if (state === 'paused') return <Act label={words.resume(name)} icon="play" onClick={() => resume(id)} />
  if (state === 'failed') return <Act label={words.retry(name)} icon="again" onClick={() => uppy.retryUpload(id)} />
  return <Act label={words.pause(name)} icon="pause" onClick={() => uppy.pauseResume(id)} />
}

function resume(id: string): void {
  if (uppy.getState().recoveredState === null) uppy.pauseResume(id)
  else resumeAll()
}

interface ActProps {
  label: string
  icon: ComponentProps<typeof Icon>['name']
  onClick: () => void
}

function Act({ label, icon, onClick }: ActProps) {
  return (
    <button type="button" class="quiet" aria-label={label} title={label} onClick={onClick}>
      <Icon name={icon} />
    </button>
  )
}

function LostRow({ one: { id, name, size, reason, isElsewhere } }: { one: Lost }) {
  return (
    <tr class="lost" ref={useFocusKept<HTMLTableRowElement>(SUMMARY)}>
      <td class="whole">
        <bdi class="file-name">{name}</bdi> <span class="badge cancelled">{text.upload.state.cancelled}</span>
      </td>
      <td class="whole" colSpan={3}>
        {isElsewhere ? text.upload.cancelledBy(reason) : text.upload.cancelledHere}{' '}
        <span class="faint">{size === null ? '' : bytes(size)}</span>
      </td>
      <td class="number whole">
        <Act label={text.upload.remove(name)} icon="close" onClick={() => forget(id)} />
      </td>
    </tr>
  )
}

/** With the folder that it was in, if it was. */
function nameOf({ name, meta }: Sent): string {
  const path = meta.relativePath
  return typeof path === 'string' && path !== '' ? path : (name ?? text.operations.unnamed.upload)
}
