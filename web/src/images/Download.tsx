import { useState } from 'preact/hooks'

import { attempt } from '../app/notices.js'
import { client, hasToken } from '../app/session.js'
import { text } from '../text.js'
import { Button } from '../ui/Button.js'
import { save } from '../ui/save.js'
import { nameOf } from './gallery.js'
import type { ProjectImage } from './types.js'

const words = text.images.viewer

/** A link cannot carry a token, so with one the page reads the file itself. */
export function Download({ image }: { image: ProjectImage }) {
  const [isBusy, setBusy] = useState(false)
  const name = nameOf(image)
  if (!hasToken()) {
    return (
      <a
        class="button"
        href={client.url(image.url).href}
        download={image.filename ?? image.id}
        aria-label={words.downloadName(name)}
      >
        {words.download}
      </a>
    )
  }
  const press = async () => {
    setBusy(true)
    await attempt(() => download(image))
    setBusy(false)
  }
  return (
    <Button isOff={isBusy} aria-label={words.downloadName(name)} onClick={press}>
      {words.download}
    </Button>
  )
}

/** Long enough for a browser to begin with it. */
const KEPT_MS = 60_000

async function download(image: ProjectImage): Promise<void> {
  const answer = await client.fetch('GET', image.url)
  const url = URL.createObjectURL(await answer.blob())
  save(url, image.filename ?? image.id)
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS)
}
