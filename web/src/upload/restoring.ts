// After a reload: what the browser has kept goes on by itself. The rest waits for its file to be chosen again, and is
// then the same upload still.

import type { Body, Meta, Uppy, UppyFile } from '@uppy/core'

import { client } from '../app/session.js'

type Page = Uppy<Meta, Body>

/** Ids of files that Golden Retriever knows of and does not have. */
const missing = new Set<string>()

export function goOnAfterReload(uppy: Page): void {
  uppy.on('restored', () => restore(uppy))
  uppy.on('file-added', ({ id }) => {
    if (missing.delete(id)) uppy.retryUpload(id)
  })
}

function restore(uppy: Page): void {
  const files = uppy.getFiles()
  const ghosts = files.filter(({ isGhost }) => isGhost)
  for (const ghost of ghosts) hold(uppy, ghost)
  const uploads = withoutMissing(uppy.getState().currentUploads)
  uppy.setState({ currentUploads: uploads })
  const isWaiting = uppy.getFiles().some(({ progress }) => !progress.uploadStarted)
  const isPaused = files.some((file) => 'isPaused' in file && file.isPaused && !file.progress.uploadComplete)
  if (Object.keys(uploads).length === 0 && !isWaiting) uppy.setState({ recoveredState: null })
  else if (!isPaused) uppy.emit('restore-confirmed')
  for (const ghost of ghosts) settle(uppy, ghost)
}

/** Uppy would begin with it, without a byte, when it next begins with another one. */
function hold(uppy: Page, { id, progress }: UppyFile<Meta, Body>): void {
  missing.add(id)
  if (progress.uploadStarted) return
  uppy.setFileState(id, { progress: { ...progress, uploadStarted: Date.now(), bytesUploaded: 0 } })
}

type Uploads = ReturnType<Page['getState']>['currentUploads']

function withoutMissing(uploads: Uploads): Uploads {
  const entries = Object.entries(uploads).map(([id, upload]) => {
    const fileIDs = upload.fileIDs.filter((fileID) => !missing.has(fileID))
    return [id, { ...upload, fileIDs }] as const
  })
  return Object.fromEntries(entries.filter(([, { fileIDs }]) => fileIDs.length > 0))
}

/** What the browser has noted may be older than the end of the upload. What has arrived is not to be chosen again. */
async function settle(uppy: Page, { id, tidegate, progress }: UppyFile<Meta, Body>): Promise<void> {
  if (tidegate === undefined) return
  const upload = await client.upload(tidegate.id).catch(() => undefined)
  if (upload?.state !== 'completed' || !missing.delete(id)) return
  uppy.setFileState(id, { isGhost: false, progress: { ...progress, uploadComplete: true } })
}
