import { cancelAll } from '../app/cancel.js'
import { notify, reasonOf } from '../app/notices.js'
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
  // How it goes is told by the rows, and by a notice in the end.
  const submit = () => {
    stopAll(chosen, reason)
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
        <button type="button" class="danger" onClick={submit}>
          {preview.submit}
        </button>
      </div>
    </Dialog>
  )
}

async function stopAll(chosen: Operation[], reason?: string): Promise<void> {
  const project = projectId.peek()
  if (project === undefined) return
  const { preview } = text.operations
  const total = chosen.length
  const { count, inMs, freed, unconfirmed, refused } = await cancelAll(chosen, project, reason)
  if (count > 0 || unconfirmed + refused.length === 0) notify(preview.done(count, total, inMs, freed))
  if (unconfirmed > 0) notify(preview.unconfirmed(unconfirmed, total), 'bad')
  if (refused.length === 0) return
  const [why] = refused
  notify(preview.refused(refused.length, total, reasonOf(why)), 'bad')
}
