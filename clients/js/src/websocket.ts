import type { Tidegate } from './client.js'
import { Deadline } from './deadline.js'
import { TidegateError } from './problem.js'
import { FIRST_WORD, type Reader } from './reader.js'
import type { Problem, TidegateEvent } from './types.js'

type Message =
  | { op: 'ack'; data: { cursor: string } }
  | { op: 'error'; problem: Problem }
  | (TidegateEvent & { op?: undefined })

/**
 * Reads a feed over a WebSocket, for the sake of proxies that hold back a stream of events.
 *
 * A browser does not show the server's pings, so only the close of the socket tells that it is gone.
 */
export async function readWebSocket(client: Tidegate, reader: Reader): Promise<void> {
  reader.signal.throwIfAborted()
  const { projectId, types, after, ticket } = reader
  const url = client.url('/api/events/ws', { ticket })
  url.protocol = url.protocol.replace('http', 'ws')
  const deadline = new Deadline(reader.signal, FIRST_WORD)
  const socket = new WebSocket(url)
  socket.onopen = () => socket.send(JSON.stringify({ op: 'subscribe', ref: 1, projectId, types, after }))
  try {
    await messages(socket, deadline.signal, receiver(reader, deadline))
  } finally {
    deadline.lift()
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close()
  }
}

/** Settles when the socket closes, when it is aborted, or when a message cannot be taken. */
function messages(socket: WebSocket, signal: AbortSignal, take: (message: Message) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
    socket.onclose = () => resolve()
    socket.onmessage = ({ data }) => {
      try {
        take(JSON.parse(data))
      } catch (error) {
        reject(error)
      }
    }
  })
}

/** The place of the answer is moved on by the sequence of each event, as messages have no cursor of their own. */
function receiver(reader: Reader, deadline: Deadline): (message: Message) => void {
  let cursor = ''
  return (message) => {
    if (message.op === 'error') throw new TidegateError(message.problem)
    if (message.op === 'ack') {
      deadline.lift()
      cursor = message.data.cursor
      reader.began()
    } else {
      reader.told(message)
      if (message.sequence === undefined) return
      cursor = cursor.replace(/=\d+$/, `=${message.sequence}`)
    }
    reader.reached(cursor)
  }
}
