import type { ComponentProps, Ref } from 'preact'

import { text } from '../text.js'
import { useFocusKept } from './focus.js'

interface Props extends Omit<ComponentProps<'button'>, 'type' | 'disabled' | 'onClick' | 'ref'> {
  /** It does nothing now. It is not `disabled`, which would take the focus away from whoever has just used it. */
  isOff?: boolean
  onClick: () => void
  element?: Ref<HTMLButtonElement>
}

export function Button({ isOff = false, onClick, element, ...more }: Props) {
  const press = () => {
    if (!isOff) onClick()
  }
  return <button type="button" {...more} ref={element} aria-disabled={isOff} onClick={press} />
}

/** Shows the next `count` of a list, below those that are shown. */
export function More({ count, ...more }: Omit<Props, 'element'> & { count: number }) {
  return (
    <Button {...more} element={useFocusKept<HTMLButtonElement>()}>
      {text.more(count)}
    </Button>
  )
}

interface CheckProps extends Omit<ComponentProps<'input'>, 'type' | 'disabled' | 'onClick'> {
  isOff: boolean
}

/** A box to be checked, which stays where the focus is when it is of no use any more. */
export function Check({ isOff, ...more }: CheckProps) {
  const press = (event: MouseEvent) => {
    if (isOff) event.preventDefault()
  }
  return <input type="checkbox" {...more} aria-disabled={isOff} onClick={press} />
}
