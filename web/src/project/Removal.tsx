import { useState } from 'preact/hooks'

import { notify } from '../app/notices.js'
import { type Project, path, project } from '../app/projects.js'
import { client } from '../app/session.js'
import { text } from '../text.js'
import { Confirm } from './Confirm.js'
import { leave } from './leave.js'

/** Deletes the project, for those who may. */
export function Removal() {
  const [asking, setAsking] = useState(false)
  const open = project.value
  if (open === undefined || open.role === 'member') return null
  return (
    <div class="row">
      <button type="button" class="danger" onClick={() => setAsking(true)}>
        {text.projects.remove}
      </button>
      {asking && (
        <Confirm
          title={text.projects.remove}
          lead={`${text.projects.removeLead(open.title)} ${text.projects.removeFinal}`}
          submit={text.projects.removeSubmit}
          onConfirm={() => remove(open)}
          onClose={() => setAsking(false)}
        />
      )}
    </div>
  )
}

async function remove({ id }: Project): Promise<void> {
  const { state } = await client.call<{ state: 'deleted' | 'deleting' }>('DELETE', path('projects', id))
  await leave(id)
  notify(state === 'deleted' ? text.projects.removed : text.projects.removing)
}
