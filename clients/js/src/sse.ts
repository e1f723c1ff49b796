import { createParser } from 'eventsource-parser'
import type { Tidegate } from './client.js'
import { Deadline } from './deadline.js'
import { FIRST_WORD, type Reader } from './reader.js'

/** The server sends something every 15 s. After this, in milliseconds, the connection is dead. */
const SILENCE = 40_000

/** Reads a feed as server-sent events. `EventSource` would tell neither why it was refused nor the first cursor. */
export async function readSse(client: Tidegate, reader: Reader): Promise<void> {
  const deadline = new Deadline(reader.signal, FIRST_WORD)
  try {
    const answer = await open(client, reader, deadline.signal)
    const cursor = answer.headers.get('Tidegate-Cursor')
    if (cursor !== null) reader.reached(cursor)
    const parse = parser(reader)
    for await (const text of chunks(answer)) {
      deadline.extend(SILENCE)
      reader.began()
      parse(text)
    }
  } finally {
    deadline.lift()
  }
}

async function open(client: Tidegate, reader: Reader, signal: AbortSignal): Promise<Response> {
  const { projectId, types, after, ticket } = reader
  const answer = await client.fetch('GET', '/api/events', {
    query: { projectId, types, after, ticket },
    headers: { Accept: 'text/event-stream' },
    anonymous: ticket !== undefined,
    signal,
  })
  const type = answer.headers.get('Content-Type') ?? ''
  if (!type.startsWith('text/event-stream')) {
    await answer.body?.cancel()
    throw new TypeError(`The answer is no feed but ${type}`)
  }
  return answer
}

/** Takes the stream as it comes. An id is reached once the event with it was told; one without an event at once. */
function parser(reader: Reader): (text: string) => void {
  let id: string | undefined
  const settle = () => {
    if (id !== undefined) reader.reached(id)
    id = undefined
  }
  const { feed } = createParser({
    onId(next) {
      settle()
      id = next
    },
    onEvent({ data }) {
      reader.told(JSON.parse(data))
      settle()
    },
  })
  return (text) => {
    feed(text)
    settle()
  }
}

/** The text of a body, piece by piece. Not every browser can iterate over the stream itself. */
async function* chunks(answer: Response): AsyncGenerator<string> {
  const body = answer.body?.getReader()
  const decoder = new TextDecoder()
  while (body) {
    const { value, done } = await body.read()
    if (done) return
    yield decoder.decode(value, { stream: true })
  }
}
