import { text } from '../text.js'
import { feedState } from './feed.js'
import { project, projects, unread } from './projects.js'
import { go, href, PANELS, route } from './route.js'
import { SignOut } from './SignOut.js'
import { hasToken, login, userOfToken } from './session.js'

export function Header() {
  const isOpen = login.value === 'in' && project.value !== undefined
  return (
    <header class="top">
      <div class="brand">
        <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
          <rect width="32" height="32" rx="7" class="mark" />
          <path d="M5 20q3.7-4 7.3 0t7.4 0T27 20M5 25q3.7-4 7.3 0t7.4 0T27 25" class="waves" />
          <path d="M16 4v10m-4.500-3.500L16 15l4.500-4.500" class="gate" />
        </svg>
        <strong>{text.name}</strong>
        <span class="claim">{text.claim}</span>
      </div>
      {login.value === 'in' && <ProjectChoice />}
      {isOpen && <Connection />}
      {hasToken() && login.value === 'in' && <User />}
      {isOpen && <Tabs />}
    </header>
  )
}

function Tabs() {
  const { panel, project } = route.value
  return (
    <nav class="tabs" aria-label={text.panelsLabel}>
      {PANELS.map((name) => (
        <a key={name} href={href({ panel: name, project })} aria-current={name === panel ? 'page' : undefined}>
          {text.panels[name]}
        </a>
      ))}
    </nav>
  )
}

function ProjectChoice() {
  const all = projects.value ?? []
  if (all.length === 0) return null
  return (
    <label class="project-choice">
      <span>{text.projects.label}</span>
      <select value={project.value?.id ?? ''} onChange={(event) => go({ project: event.currentTarget.value })}>
        {project.value === undefined && <option value="">{text.projects.unnamed}</option>}
        {all.map(({ id, title, role }) => (
          <option key={id} value={id}>
            {role === 'owner' ? title : `${title} (${text.projects.role[role]})`}
          </option>
        ))}
        {unread.value > 0 && <option disabled>{text.projects.unread(unread.value)}</option>}
      </select>
    </label>
  )
}

function Connection() {
  const status = feedState.value?.status ?? 'connecting'
  return (
    <span class={`connection ${status}`} role="status" aria-label={text.feed.label}>
      {text.feed[status]}
    </span>
  )
}

function User() {
  const user = userOfToken()
  return (
    <span class="user">
      <span>{user === undefined ? '' : text.signIn.as(user)}</span>
      <SignOut />
    </span>
  )
}
