import { useState } from 'preact/hooks'
import { cancelAll } from '../app/cancel.js'
import { attempt, complain, notify } from '../app/notices.js'
import type { Kind, Operation } from '../app/operation.js'
import { projectId } from '../app/projects.js'
import { text } from '../text.js'
import { Dialog } from '../ui/Dialog.js'

interface Props {
  chosen: Operation[]
  reason: string | undefined
  onClose: () => void
}

/** What would be freed, before anything is. */
export function BulkCancel({ chosen, reason, onClose }: Props) {
  const [isBusy, setBusy] = useState(false)
  const submit = async () => {
    setBusy(true)
    await attempt(() => stopAll(chosen, reason))
    onClose()
  }
  const of = (kind: Kind) => chosen.filter((operation) => operation.kind === kind)
  const uploads = of('upload')
  const stored = uploads.reduce((sum, { received = 0 }) => sum + received, 0)
  const { preview } = text.operations
  return (
    <Dialog title={preview.title} onClose={onClose}>
      <ul class="preview">
        {uploads.length > 0 && <li>{preview.upload(uploads.length, stored)}</li>}
        {of('queue').length > 0 && <li>{preview.queue(of('queue').length)}</li>}
        {of('export').length > 0 && <li>{preview.export(of('export').length)}</li>}
      </ul>
      {reason !== undefined && (
        <p>
          {text.operations.reason}: “{reason}”
        </p>
      )}
      <div class="dialog-actions">
        <button type="button" onClick={onClose}>
          {text.back}
        </button>
        <button type="button" class="danger" disabled={isBusy} onClick={submit}>
          {preview.submit}
        </button>
      </div>
    </Dialog>
  )
}

async function stopAll(chosen: Operation[], reason?: string): Promise<void> {
  const project = projectId.peek()
  if (project === undefined) return
  const { count, inMs, freed, refused } = await cancelAll(chosen, project, reason)
  notify(text.operations.preview.done(count, chosen.length, inMs, freed))
  for (const why of refused.slice(0, 1)) complain(why)
}
