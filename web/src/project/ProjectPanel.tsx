import { project } from '../app/projects.js'
import { text } from '../text.js'
import { Details } from './Details.js'
import { Invitations } from './Invitations.js'
import { NewProject } from './NewProject.js'
import { Removal } from './Removal.js'
import { Sharing } from './Sharing.js'
import { Usage } from './Usage.js'
import './project.css'

export function ProjectPanel() {
  const open = project.value
  return open === undefined ? <First /> : <Opened id={open.id} />
}

export function First({ isLost = false }: { isLost?: boolean }) {
  return (
    <div class="project-first">
      <section class="card" aria-labelledby="project-title">
        <header class="card-head">
          <h1 id="project-title">{text.projects.none}</h1>
        </header>
        {isLost && <p role="status">{text.projects.lost}</p>}
        <p class="hint">{text.projects.noneLead}</p>
        <NewProject />
      </section>
      <Invitations />
    </div>
  )
}

function Opened({ id }: { id: string }) {
  return (
    <div class="project-columns">
      <div class="project-column">
        <section class="card" aria-labelledby="project-title">
          <header class="card-head">
            <h1 id="project-title">{text.panels.project}</h1>
          </header>
          <Details key={id} />
          <Usage key={id} projectId={id} />
          <Removal key={id} />
        </section>
      </div>
      <div class="project-column">
        <Sharing key={id} projectId={id} />
        <section class="card" aria-labelledby="new-project-title">
          <h2 id="new-project-title">{text.projects.create}</h2>
          <NewProject />
        </section>
        <Invitations />
      </div>
    </div>
  )
}
