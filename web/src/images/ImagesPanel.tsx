export function ImagesPanel() {
  return <h1>Images</h1>
}
