export function OperationsPanel() {
  return <h1>Operations</h1>
}
