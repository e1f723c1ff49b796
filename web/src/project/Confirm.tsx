import { text } from '../text.js'
import { Dialog } from '../ui/Dialog.js'
import { useForm } from '../ui/form.js'

interface Props {
  title: string
  lead: string
  /** What the button is called that does it. */
  submit: string
  onConfirm: () => Promise<void>
  onClose: () => void
}

/** Asks once more before something that cannot be taken back. */
export function Confirm({ title, lead, submit: words, onConfirm, onClose }: Props) {
  const { busy, submit } = useForm([])
  const confirm = (event: Event) =>
    submit(event, async () => {
      await onConfirm()
      onClose()
    })
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{lead}</p>
      <form class="dialog-actions" onSubmit={confirm}>
        <button type="button" onClick={onClose}>
          {text.back}
        </button>
        <button type="submit" class="danger" aria-disabled={busy}>
          {words}
        </button>
      </form>
    </Dialog>
  )
}
