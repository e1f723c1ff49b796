import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useId, useLayoutEffect, useRef } from 'preact/hooks'

import { Notices } from '../app/Notices.js'
import { text } from '../text.js'
import { Icon } from './Icon.js'
import { Words } from './Words.js'

interface Props {
  title: string
  onClose: () => void
  children: ComponentChildren
  wide?: boolean
}

/** How many are open. While one is, everything behind it is inert, so that it has the notices. */
export const dialogs = signal(0)

/** A dialog above the page, which Escape closes. The focus goes back to where it was. */
export function Dialog({ title, onClose, children, wide = false }: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  const heading = useId()
  // At once: a key that is pressed next is meant for it.
  useLayoutEffect(() => {
    const before = document.activeElement
    dialog.current?.showModal()
    dialogs.value += 1
    return () => {
      dialogs.value -= 1
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  return (
    <dialog ref={dialog} class={wide ? 'dialog wide' : 'dialog'} aria-labelledby={heading} onClose={onClose}>
      <header class="dialog-head">
        <h2 id={heading}>
          <Words of={title} />
        </h2>
        <button type="button" class="quiet" aria-label={text.close} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </header>
      {children}
      <Notices />
    </dialog>
  )
}
