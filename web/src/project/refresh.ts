import { useEffect } from 'preact/hooks'

import { useFeed } from '../app/feed.js'

/**
 * Calls it when shares of the open project change, and whenever the user comes back to the page: that somebody has
 * invited him to another one is told on no feed that the page follows.
 */
export function useRefresh(reload: () => unknown): void {
  useFeed(({ type }) => {
    if (type.startsWith('share.')) reload()
  })
  useEffect(() => {
    const back = () => {
      reload()
    }
    addEventListener('focus', back)
    return () => removeEventListener('focus', back)
  }, [])
}
