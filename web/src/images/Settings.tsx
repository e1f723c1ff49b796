import { useComputed } from '@preact/signals'
import { useId } from 'preact/hooks'

import { attempt, notify } from '../app/notices.js'
import { text } from '../text.js'
import { Button } from '../ui/Button.js'
import { entries } from './gallery.js'
import { mayBePicture } from './picture.js'
import { health, model, segmentAll, THRESHOLD, threshold } from './queue.js'

const words = text.images

/** How images are segmented, and all that are selected at once. Nothing, if the server has no queue. */
export function Settings({ project }: { project: string }) {
  const known = health.value
  if (known === undefined || known === 'absent') return null
  return (
    <>
      {!known.mlServiceHealthy && (
        <p class="images-hint" role="status">
          {words.noWorker} <code>{words.workerCommand(location.origin)}</code>
        </p>
      )}
      <div class="images-settings">
        <fieldset class="row">
          <legend class="visually-hidden">{words.settings}</legend>
          <Model />
          <Threshold />
        </fieldset>
        <Selection project={project} />
      </div>
    </>
  )
}

export function Model() {
  const known = health.value
  const models = known === 'absent' ? undefined : known?.models
  if (models === undefined) return null
  return (
    <label class="images-setting">
      <span>{words.model}</span>
      <select
        value={model.value}
        onChange={(event) => {
          model.value = event.currentTarget.value
        }}
      >
        {models.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}

export function Threshold() {
  const slider = useId()
  return (
    <span class="images-setting">
      <label for={slider}>{words.threshold}</label>
      <input
        id={slider}
        type="range"
        {...THRESHOLD}
        value={threshold.value}
        onInput={(event) => {
          threshold.value = event.currentTarget.valueAsNumber
        }}
      />
      <output for={slider}>{threshold.value.toFixed(2)}</output>
    </span>
  )
}

function Selection({ project }: { project: string }) {
  const chosen = useComputed(() => (entries.value ?? []).filter(({ selected }) => selected.value)).value
  const shown = entries.value ?? []
  if (shown.length === 0) return null
  const pictures = shown.filter(({ image }) => mayBePicture(image.peek()))
  const isAll = pictures.length > 0 && pictures.every(({ selected }) => selected.value)
  const selectAll = (isSelected: boolean) => {
    for (const { selected } of isSelected ? pictures : shown) selected.value = isSelected
  }
  const segment = () =>
    attempt(async () => {
      const { queued, skipped } = await segmentAll(project, chosen)
      notify(words.enqueued(queued, skipped))
    })
  return (
    <div class="row">
      <label class="check">
        <input
          type="checkbox"
          checked={isAll}
          indeterminate={chosen.length > 0 && !isAll}
          onChange={(event) => selectAll(event.currentTarget.checked)}
        />
        {words.selectAll}
      </label>
      <Button class="primary" isOff={chosen.length === 0} onClick={segment}>
        {words.segmentSelected(chosen.length)}
      </Button>
    </div>
  )
}
