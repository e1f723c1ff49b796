import { attempt, notify } from '../app/notices.js'
import { every, loadProjects, path, type Share } from '../app/projects.js'
import { useRemote } from '../app/remote.js'
import { client } from '../app/session.js'
import { text } from '../text.js'
import { keepFocus } from '../ui/focus.js'
import { useRefresh } from './refresh.js'

const TITLE = 'invitations-title'

/** To projects of others. */
export function Invitations() {
  const remote = useRemote(async () => {
    const shares = await every<Share>('/api/shares')
    return shares.filter(({ status }) => status === 'pending')
  })
  useRefresh(remote.reload)
  const answer = async (work: () => Promise<unknown>, words: string) => {
    await work()
    notify(words)
    await Promise.all([remote.reload(), loadProjects()])
    keepFocus(TITLE)
  }
  // From a page it has to be JSON, though there is nothing to say: any page could send what is empty.
  const accept = ({ id, projectTitle = '' }: Share) =>
    answer(() => client.call('POST', path('shares', id, 'accept'), { body: {} }), text.shares.accepted(projectTitle))
  const decline = ({ id, projectTitle = '' }: Share) =>
    answer(() => client.call('DELETE', path('shares', id)), text.shares.declined(projectTitle))
  return (
    <section class="card" aria-labelledby={TITLE}>
      <h2 id={TITLE} tabIndex={-1}>
        {text.shares.invitations}
      </h2>
      {remote.value === undefined && <p class="faint">{text.loading}</p>}
      {remote.value?.length === 0 && <p class="faint">{text.shares.noInvitations}</p>}
      <ul class="people">
        {remote.value?.map((share) => (
          <Invitation
            key={share.id}
            title={share.projectTitle ?? ''}
            onAccept={() => attempt(() => accept(share))}
            onDecline={() => attempt(() => decline(share))}
          />
        ))}
      </ul>
    </section>
  )
}

interface Props {
  title: string
  onAccept: () => void
  onDecline: () => void
}

function Invitation({ title, onAccept, onDecline }: Props) {
  return (
    <li class="row">
      <span class="person">{text.shares.invitation(title)}</span>
      <button type="button" class="primary" aria-label={text.shares.acceptLabel(title)} onClick={onAccept}>
        {text.shares.accept}
      </button>
      <button type="button" aria-label={text.shares.declineLabel(title)} onClick={onDecline}>
        {text.shares.decline}
      </button>
    </li>
  )
}
