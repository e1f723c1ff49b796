// For what shows how long ago something was.

import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'

const ticks = signal(0)

/** Renders the component again every second. */
export function useSeconds(): void {
  ticks.value
  useEffect(() => {
    const timer = setInterval(() => {
      ticks.value += 1
    }, 1000)
    return () => clearInterval(timer)
  }, [])
}
