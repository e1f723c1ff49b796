import { TidegateError } from '@tidegate/client'
import { useState } from 'preact/hooks'

import { complain } from '../app/notices.js'
import { project } from '../app/projects.js'
import { text } from '../text.js'
import { Field } from '../ui/Field.js'
import { useForm } from '../ui/form.js'
import { start } from './actions.js'

type Format = keyof typeof text.exports.formats

const ANNOTATIONS: Format[] = ['coco', 'yolo', 'json']
const METRICS: Format[] = ['csv', 'json']

interface Props {
  projectId: string
  /** There is one to be seen, this one if it could not be started because of it. */
  onStarted: (running?: string) => void
}

export function ExportForm({ projectId, onStarted }: Props) {
  const [images, setImages] = useState(true)
  const [annotations, setAnnotations] = useState<Format[]>(['coco'])
  const [metrics, setMetrics] = useState<Format[]>(['csv'])
  // The project's title, whatever becomes of it, until another name is given.
  const [name, setName] = useState<string>()
  const { errors, setErrors, busy, submit } = useForm(['options', 'projectName'])
  const shownName = name ?? project.value?.title ?? ''
  const isEmpty = !images && annotations.length === 0 && metrics.length === 0
  const send = async (event: Event) => {
    event.preventDefault()
    if (isEmpty) return setErrors({ options: text.exports.nothing })
    await submit(event, async () => {
      const options = { includeOriginalImages: images, annotationFormats: annotations, metricsFormats: metrics }
      const named = shownName.trim() || (project.peek()?.title ?? '')
      onStarted(await startUnlessRunning(() => start(projectId, options, named)))
    })
  }
  return (
    <form class="export-form" onSubmit={send} onChange={() => setErrors({})}>
      <fieldset aria-describedby="export-options-error">
        <legend>{text.exports.content}</legend>
        <label class="check">
          <input type="checkbox" checked={images} onChange={(event) => setImages(event.currentTarget.checked)} />
          {text.exports.images}
        </label>
      </fieldset>
      <Formats legend={text.exports.annotations} all={ANNOTATIONS} chosen={annotations} onChange={setAnnotations} />
      <Formats legend={text.exports.metrics} all={METRICS} chosen={metrics} onChange={setMetrics} />
      <p id="export-options-error" class="error" role="alert">
        {errors.options}
      </p>
      <Field label={text.exports.name} value={shownName} onValue={setName} error={errors.projectName} />
      <button type="submit" class="primary" aria-disabled={busy}>
        {text.exports.submit}
      </button>
    </form>
  )
}

interface FormatsProps {
  legend: string
  all: Format[]
  chosen: Format[]
  onChange: (chosen: Format[]) => void
}

function Formats({ legend, all, chosen, onChange }: FormatsProps) {
  const toggle = (format: Format) => onChange(all.filter((other) => chosen.includes(other) !== (other === format)))
  return (
    <fieldset>
      <legend>{legend}</legend>
      <div class="row">
        {all.map((format) => (
          <label key={format} class="check">
            <input
              type="checkbox"
              aria-label={text.exports.format(legend, text.exports.formats[format])}
              checked={chosen.includes(format)}
              onChange={() => toggle(format)}
            />
            {text.exports.formats[format]}
          </label>
        ))}
      </div>
    </fieldset>
  )
}

/** The id of the user's export that has to end first, if there is one. */
async function startUnlessRunning(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (!(error instanceof TidegateError && error.problem.code === 'EXPORT_RUNNING')) throw error
    complain(error)
    return String(error.problem.jobId)
  }
}
