export function ExportPanel() {
  return <h1>Export</h1>
}
