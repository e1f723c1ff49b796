import { useEffect, useState } from 'preact/hooks'

import { attempt, notify } from '../app/notices.js'
import { loadProjects, type Project, path, project } from '../app/projects.js'
import { client } from '../app/session.js'
import { dateTime } from '../format.js'
import { text } from '../text.js'
import { Copyable } from '../ui/Copyable.js'
import { Field } from '../ui/Field.js'
import { useForm } from '../ui/form.js'
import { useRefresh } from './refresh.js'
import '../ui/ui.css'

/** What the project is called and who has it. */
export function Details() {
  const refresh = () => attempt(loadProjects)
  useRefresh(refresh)
  useEffect(() => {
    refresh()
  }, [])
  const open = project.value
  if (open === undefined) return null
  return (
    <>
      {open.role === 'member' ? <Reading project={open} /> : <Editing project={open} />}
      <dl class="facts">
        <dt>{text.projects.id}</dt>
        <dd>
          <Copyable label={text.projects.id} value={open.id} />
        </dd>
        <dt>{text.projects.owner}</dt>
        <dd>
          <Copyable label={text.projects.owner} value={open.ownerId} />
        </dd>
        <dt>{text.projects.made}</dt>
        <dd>
          <time dateTime={open.createdAt}>{dateTime(open.createdAt)}</time>
        </dd>
      </dl>
    </>
  )
}

function Reading({ project: { title, description } }: { project: Project }) {
  return (
    <div>
      <strong>{title}</strong>
      <p class={description === null ? 'faint' : 'project-description'}>{description ?? text.projects.noDescription}</p>
    </div>
  )
}

function Editing({ project }: { project: Project }) {
  // What has not been touched is as somebody else has changed it meanwhile.
  const [draft, setDraft] = useState<{ title?: string; description?: string }>({})
  const { errors, busy, submit } = useForm(['title', 'description'])
  const save = (event: Event) =>
    submit(event, async () => {
      await client.call('PUT', path('projects', project.id), { body: draft })
      await loadProjects()
      setDraft({})
      notify(text.projects.saved)
    })
  return (
    <form class="project-form" onSubmit={save}>
      <Field
        label={text.projects.title}
        value={draft.title ?? project.title}
        onValue={(title) => setDraft({ ...draft, title })}
        error={errors.title}
        required
      />
      <Field
        label={`${text.projects.description} (${text.optional})`}
        value={draft.description ?? project.description ?? ''}
        onValue={(description) => setDraft({ ...draft, description })}
        error={errors.description}
        rows={3}
      />
      <button type="submit" class="primary" aria-disabled={busy}>
        {text.projects.save}
      </button>
    </form>
  )
}
