import { useEffect, useLayoutEffect } from 'preact/hooks'

import { EventsPanel } from '../events/EventsPanel.js'
import { ExportPanel } from '../export/ExportPanel.js'
import { ImagesPanel } from '../images/ImagesPanel.js'
import { OperationsPanel } from '../operations/OperationsPanel.js'
import { Gone } from '../project/Gone.js'
import { ProjectPanel } from '../project/ProjectPanel.js'
import { text } from '../text.js'
import { dialogs } from '../ui/Dialog.js'
import { UploadPanel } from '../upload/UploadPanel.js'
import { epoch, follow } from './feed.js'
import { Header } from './Header.js'
import { Notices } from './Notices.js'
import { attempt } from './notices.js'
import { loadOperations } from './operations.js'
import { loadProjects, lost, project, projectId, projects } from './projects.js'
import { route } from './route.js'
import { SignIn } from './SignIn.js'
import { askAgain, login, refusal } from './session.js'

export function App() {
  const isKnown = login.value !== 'unknown' && (login.value !== 'in' || projects.value !== undefined)
  return (
    <>
      {!isKnown && <p class="starting">{text.loading}</p>}
      {/* What is above the content depends on who looks at it: before that is known, it would have to move. */}
      <div class={isKnown ? undefined : 'unseen'}>
        <a class="skip" href="#content">
          {text.skip}
        </a>
        <Header />
        <main id="content" tabIndex={-1}>
          <Content />
        </main>
        <footer class="foot">
          <a href="/assets/licenses.txt">{text.licenses}</a>
        </footer>
      </div>
      {dialogs.value === 0 && <Notices />}
    </>
  )
}

function Content() {
  if (login.value === 'unknown') return null
  if (login.value === 'out') return <SignIn />
  if (login.value === 'away') return <Away />
  return <Project />
}

function Away() {
  return (
    <div class="empty" role="alert">
      <p>{text.signIn.away}</p>
      <p>{refusal.value}</p>
      <button type="button" onClick={askAgain}>
        {text.retry}
      </button>
    </div>
  )
}

function Project() {
  useEffect(() => {
    attempt(loadProjects)
    return () => {
      projects.value = undefined
    }
  }, [])
  const id = projectId.value
  // At once, so that nothing of the one before is told any more.
  useLayoutEffect(() => (id === undefined ? undefined : follow(id)), [id])
  const anew = epoch.value
  useEffect(() => {
    if (id === undefined || anew === 0) return
    const reading = new AbortController()
    loadOperations(id, reading.signal)
    return () => reading.abort()
  }, [id, anew])
  useTitle()
  if (projects.value === undefined) return null
  return <Panels />
}

/** Tabs and bookmarks are told apart by it. */
function useTitle(): void {
  const { panel } = route.value
  const open = project.value?.title
  useEffect(() => {
    document.title = open === undefined ? text.name : text.title(text.panels[panel], open)
    return () => {
      document.title = text.name
    }
  }, [panel, open])
}

/** The one that is open. Uploads go on while another one is. */
function Panels() {
  const { panel } = route.value
  const isOpen = projectId.value !== undefined
  const hidden = panel !== 'transfers' || !isOpen
  return (
    <>
      <div class="transfers" hidden={hidden}>
        <UploadPanel />
        <OperationsPanel />
      </div>
      {isOpen && panel === 'images' && <ImagesPanel />}
      {isOpen && panel === 'export' && <ExportPanel />}
      {/* What was told while another panel was open is there as well. */}
      {isOpen && panel === 'events' && <EventsPanel />}
      {lost.value !== undefined && <Gone />}
      {lost.value === undefined && (panel === 'project' || !isOpen) && <ProjectPanel />}
    </>
  )
}
