export function ProjectPanel() {
  return <h1>Project</h1>
}
