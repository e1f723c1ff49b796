// Forms whose fields the server checks.

import { TidegateError } from '@tidegate/client'
import { useState } from 'preact/hooks'

import { complain } from '../app/notices.js'

/** What is wrong with a form's fields, by their names. */
export type Errors = Record<string, string>

/** `fields` are those beside which an error can be shown. All others are told as notices. */
export function useForm(fields: string[]) {
  const [errors, setErrors] = useState<Errors>({})
  const [busy, setBusy] = useState(false)
  /** Does what the form is for. While that lasts, a second click does nothing. */
  const submit = async (event: Event, work: () => Promise<void>) => {
    event.preventDefault()
    if (busy) return
    setBusy(true)
    setErrors({})
    try {
      await work()
    } catch (error) {
      const found = errorsOf(error, fields)
      setErrors(found)
      if (Object.keys(found).length === 0) complain(error)
    } finally {
      setBusy(false)
    }
  }
  return { errors, setErrors, busy, submit }
}

function errorsOf(error: unknown, fields: string[]): Errors {
  const found = error instanceof TidegateError ? Object.entries(error.problem.errors ?? {}) : []
  return Object.fromEntries(
    found.filter(([name]) => fields.includes(name)).map(([name, words]) => [name, sentence(words)]),
  )
}

/** The server's words follow the name of a field, which stands above them here. */
function sentence(words: string[]): string {
  const joined = words.join('; ')
  return `${joined.charAt(0).toUpperCase()}${joined.slice(1)}.`
}
