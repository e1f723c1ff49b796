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
 * Relays to the host of `endpoint`, and returns the endpoint on this side.
 *
 * `cuts` are `{after, how}`, in order: once so many bytes have come from clients, the connection
 * that brought the last of them ends in this way.
 */
export async function relay(endpoint, cuts) {
  const target = new URL(endpoint)
  const waiting = [...cuts]
  let relayed = 0
  const listener = createServer((client) => {
    const server = connect(Number(target.port), target.hostname)
    let cut = false
    client.on('error', () => {})
    server.on('error', () => client.destroy())
    server.pipe(client)
    client.on('data', (data) => {
      if (cut) return
      relayed += data.length
      if (relayed >= waiting[0]?.after) {
        cut = true
        ENDINGS[waiting.shift().how](client, server)
        return
      }
      if (!server.write(data)) {
        client.pause()
        server.once('drain', () => client.resume())
      }
    })
    client.on('close', () => cut || server.destroy())
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const here = new URL(endpoint)
  here.port = listener.address().port
  return { endpoint: here.href, cutsLeft: () => waiting.length }
}
