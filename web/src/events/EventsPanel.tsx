export function EventsPanel() {
  return <h1>Events</h1>
}
