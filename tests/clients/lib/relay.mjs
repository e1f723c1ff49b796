// A TCP relay that cuts connections.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** How a connection ends, for both sides of the relay. */
const ENDINGS = {
  close(client, server) {
    client.destroy()
    server.destroy()
  },
  reset(client, server) {
    client.resetAndDestroy()
    server.resetAndDestroy()
  },
  // The client gives up, and the server is not told: a network that was left.
  vanish(client) {
    client.destroy()
  },
}

/**
 * Relays to the host of `endpoint`, and gives the endpoint on this side.
 *
 * `cuts` are `{after, how}`, each used once and in order: a connection ends in this way when so
 * many bytes have come from the client without an answer.
 */
export async function relay(endpoint, cuts) {
  const target = new URL(endpoint)
  const waiting = [...cuts]
  const listener = createServer((client) => {
    const server = connect(Number(target.port), target.hostname)
    let unanswered = 0
    const forward = (data) => {
      unanswered += data.length
      if (unanswered >= waiting[0]?.after) {
        client.off('data', forward).off('close', close)
        ENDINGS[waiting.shift().how](client, server)
      } else if (!server.write(data)) {
        client.pause()
        server.once('drain', () => client.resume())
      }
    }
    const close = () => server.destroy()
    client.on('data', forward).on('close', close).on('error', close)
    server.on('data', () => (unanswered = 0)).on('error', () => client.destroy())
    server.pipe(client)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const here = new URL(endpoint)
  here.port = listener.address().port
  return { endpoint: here.href, cutsLeft: () => waiting.length }
}
