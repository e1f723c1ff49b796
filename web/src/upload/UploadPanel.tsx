export function UploadPanel() {
  return <h1>Upload</h1>
}
