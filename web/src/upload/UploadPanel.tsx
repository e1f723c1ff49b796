import Dashboard from '@uppy/dashboard'
import { useEffect, useRef } from 'preact/hooks'

import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'
import './upload.css'

import { projectId } from '../app/projects.js'
import { text } from '../text.js'
import { goOn, isKept, isReady, sendTo, unplug, uppy } from './sending.js'
import { Transfers } from './Transfers.js'

const HEIGHT = 170

export function UploadPanel() {
  const id = projectId.value
  useEffect(() => {
    if (id !== undefined) sendTo(id)
  }, [id])
  useEffect(goOn, [])
  return (
    <section class="card upload" aria-labelledby="upload-title">
      <div class="card-head">
        <h1 id="upload-title">{text.upload.title}</h1>
        <p class="faint">{isKept.value ? text.upload.note : text.upload.noteMany}</p>
      </div>
      <div class="drop-zone">{isReady.value && <DropZone />}</div>
      <Transfers />
    </section>
  )
}

/** Uppy's own, for choosing files; how far they are is told below, one row each. */
function DropZone() {
  const target = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (target.current === null) return
    uppy.use(Dashboard, {
      inline: true,
      target: target.current,
      width: '100%',
      height: HEIGHT,
      theme: 'auto',
      fileManagerSelectionType: 'both',
      proudlyDisplayPoweredByUppy: false,
      showSelectedFiles: false,
      disableThumbnailGenerator: true,
      disableStatusBar: true,
      // Its words come with the other notices.
      disableInformer: true,
    })
    return () => unplug('Dashboard')
  }, [])
  return <div ref={target} />
}
