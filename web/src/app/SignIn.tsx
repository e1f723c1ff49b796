import { useId, useState } from 'preact/hooks'

import { text } from '../text.js'
import { refusal, signIn } from './session.js'

export function SignIn() {
  const [pasted, setPasted] = useState('')
  const [busy, setBusy] = useState(false)
  const field = useId()
  const submit = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    await signIn(pasted)
    setBusy(false)
  }
  return (
    <section class="card sign-in" aria-labelledby="sign-in-title">
      <h1 id="sign-in-title">{text.signIn.title}</h1>
      <p>{text.signIn.lead}</p>
      <form onSubmit={submit}>
        <label for={field}>{text.signIn.token}</label>
        <textarea
          id={field}
          rows={4}
          required
          spellcheck={false}
          autocomplete="off"
          value={pasted}
          onInput={(event) => setPasted(event.currentTarget.value)}
        />
        <p class="hint">{text.signIn.memory}</p>
        <p class="error" role="alert">
          {refusal.value}
        </p>
        <button type="submit" class="primary" disabled={busy}>
          {text.signIn.submit}
        </button>
      </form>
    </section>
  )
}
