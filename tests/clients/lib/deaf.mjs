// A TCP relay that can be told to lose every answer.

import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/**
 * Relays to the host of `endpoint`, and gives the endpoint on this side. While `lose` says so, a
 * connection is reset as soon as an answer comes back on it: its request has been heard, and its
 * sender never learns.
 */
export async function deafRelay(endpoint, lose) {
  const target = new URL(endpoint)
  let lost = 0
  const listener = createServer((client) => {
    const server = connect(Number(target.port), target.hostname)
    const end = () => {
      client.destroy()
      server.destroy()
    }
    server.on('data', (answer) => {
      if (!lose()) return client.write(answer)
      lost += 1
      client.resetAndDestroy()
      server.destroy()
    })
    client.pipe(server)
    for (const side of [client, server]) side.on('error', end).on('close', end)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const here = new URL(endpoint)
  here.port = listener.address().port
  return { endpoint: here.href, lost: () => lost }
}
