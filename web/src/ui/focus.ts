import type { RefObject } from 'preact'
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'

/**
 * With the next frame, the focus goes to the element with this id if it was in something that is no longer there:
 * else whoever uses the keyboard would begin again at the top of the page.
 */
export function keepFocus(id = 'content'): void {
  requestAnimationFrame(() => {
    if (document.activeElement !== document.body) return
    const heir = document.getElementById(id) ?? document.getElementById('content')
    heir?.focus()
  })
}

/** The same once the element of the answer is gone, if the focus was in it. */
export function useFocusKept<T extends HTMLElement>(id?: string): RefObject<T> {
  const element = useRef<T>(null)
  useEffect(
    () => () => {
      if (element.current?.contains(document.activeElement)) keepFocus(id)
    },
    [id],
  )
  return element
}

/** What has the focus loses it when its row is put into another place. The component of this is the one with the rows. */
export function useFocusOverMoves(): void {
  const before = document.activeElement
  useLayoutEffect(() => {
    const isLost = document.activeElement === document.body && before !== document.body
    if (isLost && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true })
  })
}
