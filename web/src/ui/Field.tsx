import { useId } from 'preact/hooks'

interface Props {
  label: string
  value: string
  onValue: (value: string) => void
  error?: string | undefined
  hint?: string
  /** Several lines of text in the place of one. */
  rows?: number
  required?: boolean
}

/** A field with its label, and what is wrong with it. */
export function Field({ label, value, onValue, error, hint, rows, required = false }: Props) {
  const id = useId()
  const about = {
    id,
    value,
    required,
    autocomplete: 'off',
    'aria-invalid': error !== undefined,
    'aria-describedby': `${id}-error ${id}-hint`,
    onInput: (event: { currentTarget: { value: string } }) => onValue(event.currentTarget.value),
  }
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {rows === undefined ? <input {...about} /> : <textarea rows={rows} {...about} />}
      <p id={`${id}-error`} class="error" role="alert">
        {error}
      </p>
      <p id={`${id}-hint`} class="hint" hidden={hint === undefined}>
        {hint}
      </p>
    </div>
  )
}
