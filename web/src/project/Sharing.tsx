import { useRef, useState } from 'preact/hooks'

import { attempt, notify } from '../app/notices.js'
import { every, path, project, type Share } from '../app/projects.js'
import { useRemote } from '../app/remote.js'
import { client } from '../app/session.js'
import { dateTime } from '../format.js'
import { text } from '../text.js'
import { Field } from '../ui/Field.js'
import { useForm } from '../ui/form.js'
import { Confirm } from './Confirm.js'
import { leave } from './leave.js'
import { useRefresh } from './refresh.js'

/** Whom the project is shared with. A member sees himself only, and can leave. */
export function Sharing({ projectId }: { projectId: string }) {
  const heading = useRef<HTMLHeadingElement>(null)
  const remote = useRemote(() => every<Share>(path('projects', projectId, 'shares')))
  useRefresh(remote.reload)
  const shares = remote.value
  const isMember = project.value?.role === 'member'
  const revoke = async (share: Share) => {
    await client.call('DELETE', path('shares', share.id))
    notify(text.shares.revoked(nameOf(share)))
    heading.current?.focus()
    await remote.reload()
  }
  return (
    <section class="card" aria-labelledby="shares-title">
      <h2 id="shares-title" ref={heading} tabIndex={-1}>
        {text.shares.title}
      </h2>
      {!isMember && <Invite projectId={projectId} onInvited={remote.reload} />}
      {shares === undefined && <p class="faint">{text.loading}</p>}
      {shares?.length === 0 && <p class="faint">{text.shares.none}</p>}
      <ul class="people">
        {shares?.map((share) => (
          <li key={share.id} class="row">
            <span class="person">{nameOf(share)}</span>
            <span class={`badge ${share.status}`}>{text.shares.status[share.status]}</span>
            <time class="faint" dateTime={share.updatedAt}>
              {text.shares.since(dateTime(share.updatedAt))}
            </time>
            {!isMember && (
              <button
                type="button"
                aria-label={text.shares.revoke(nameOf(share))}
                onClick={() => attempt(() => revoke(share))}
              >
                {text.shares.revokeShort}
              </button>
            )}
          </li>
        ))}
      </ul>
      {isMember && shares?.[0] && <Leave share={shares[0]} />}
    </section>
  )
}

function nameOf({ userId, email }: Share): string {
  return userId ?? email ?? text.unknown
}

interface InviteProps {
  projectId: string
  onInvited: () => Promise<void>
}

function Invite({ projectId, onInvited }: InviteProps) {
  const [who, setWho] = useState('')
  const { errors, busy, submit } = useForm(['userId', 'email'])
  const invite = (event: Event) =>
    submit(event, async () => {
      const named = who.trim()
      const body = named.includes('@') ? { email: named } : { userId: named }
      await client.call('POST', path('projects', projectId, 'shares'), { body })
      setWho('')
      notify(text.shares.invited(named))
      await onInvited()
    })
  return (
    <form class="project-form" onSubmit={invite}>
      <Field
        label={text.shares.who}
        value={who}
        onValue={setWho}
        error={errors.userId ?? errors.email}
        hint={text.shares.whoHint}
        required
      />
      <button type="submit" class="primary" aria-disabled={busy}>
        {text.shares.invite}
      </button>
    </form>
  )
}

function Leave({ share }: { share: Share }) {
  const [asking, setAsking] = useState(false)
  const title = project.value?.title ?? ''
  const confirm = async () => {
    await client.call('DELETE', path('shares', share.id))
    await leave(share.projectId)
    notify(text.shares.left(title))
  }
  return (
    <div class="row">
      <button type="button" class="danger" onClick={() => setAsking(true)}>
        {text.shares.leave}
      </button>
      {asking && (
        <Confirm
          title={text.shares.leave}
          lead={text.shares.leaveLead(title)}
          submit={text.shares.leaveSubmit}
          onConfirm={confirm}
          onClose={() => setAsking(false)}
        />
      )}
    </div>
  )
}
