import { useState } from 'preact/hooks'

import { notify } from '../app/notices.js'
import { createProject } from '../app/projects.js'
import { text } from '../text.js'
import { Field } from '../ui/Field.js'
import { keepFocus } from '../ui/focus.js'
import { useForm } from '../ui/form.js'

export function NewProject() {
  const [title, setTitle] = useState('')
  const [description, setDescription] = useState('')
  const { errors, busy, submit } = useForm(['title', 'description'])
  const create = (event: Event) =>
    submit(event, async () => {
      await createProject(title, description)
      setTitle('')
      setDescription('')
      notify(text.projects.created(title))
      // With the first project the whole panel is another one.
      keepFocus()
    })
  return (
    <form class="project-form" onSubmit={create}>
      <Field label={text.projects.title} value={title} onValue={setTitle} error={errors.title} required />
      <Field
        label={`${text.projects.description} (${text.optional})`}
        value={description}
        onValue={setDescription}
        error={errors.description}
        rows={2}
      />
      <button type="submit" class="primary" aria-disabled={busy}>
        {text.projects.submit}
      </button>
    </form>
  )
}
