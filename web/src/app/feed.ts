// What happens in the open project, told to whatever part of the page wants to know.

import { signal } from '@preact/signals'
import type { FeedState, TidegateEvent } from '@tidegate/client'
import { useEffect, useRef } from 'preact/hooks'

import { client } from './session.js'

type Listener = (event: TidegateEvent) => void

/** What is known of the connection. */
export const feedState = signal<FeedState | undefined>(undefined)

/** Counts how often what is known has to be read anew: at the start, and whenever events were lost. */
export const epoch = signal(0)

const listeners = new Set<Listener>()

/** Tells every event from now on of the project that is open, and of no other one. */
export function listen(listener: Listener): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** The same for as long as a component is shown. */
export function useFeed(listener: Listener): void {
  const latest = useRef(listener)
  latest.current = listener
  useEffect(() => listen((event) => latest.current(event)), [])
}

/** Follows a project until the answer is called. */
export function follow(projectId: string): () => void {
  let readFor: FeedState['status'] | undefined
  const subscription = client.subscribe({
    projectId,
    // Whoever listens need not ask which project an event is of.
    onEvent: (event) => {
      if (event.type !== 'feed.gap' && event.data.projectId !== projectId) return
      for (const listener of listeners) listener(event)
    },
    onState: (state) => {
      feedState.value = state
      // Lists are read once the feed tells what comes after them; and once without it, if it does not come up.
      if (readFor !== 'live' && (state.status === 'live' || (state.status === 'waiting' && readFor === undefined))) {
        readFor = state.status
        epoch.value += 1
      }
    },
    onGap: () => {
      epoch.value += 1
    },
  })
  return () => {
    subscription.close()
    feedState.value = undefined
  }
}
