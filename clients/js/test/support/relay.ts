// A TCP relay that cuts connections, and holds back what it is told to.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { cleanup } from './cleanup.ts'

export interface RelayOptions {
  /** A connection on which this was sent is answered nothing any more. */
  swallow?: RegExp
}

export class Relay {
  readonly #pairs = new Set<[Socket, Socket]>()
  readonly #listener: Server
  /** Whether bytes go through at all. */
  #open = true
  /** Cuts the connection on which this is sent, once the server has it. */
  cutAt: RegExp | undefined
  connections = 0

  private constructor(target: URL, options: RelayOptions) {
    this.#listener = createServer((client) => {
      const server = connect(Number(target.port), target.hostname)
      this.connections += 1
      this.#join(client, server, options)
    })
  }

  static async of(test: TestContext, target: string, options: RelayOptions = {}): Promise<Relay> {
    const relay = new Relay(new URL(target), options)
    relay.#listener.listen(0, '127.0.0.1')
    await once(relay.#listener, 'listening')
    cleanup(test, () => {
      relay.cut()
      relay.#listener.close()
    })
    return relay
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#listener.address() as AddressInfo).port}`
  }

  /** Ends every connection. */
  cut(): void {
    for (const [client, server] of this.#pairs) {
      client.destroy()
      server.destroy()
    }
  }

  /** From now on nothing goes through, and nobody is told. */
  hold(): void {
    this.#open = false
    for (const [, server] of this.#pairs) server.pause()
  }

  /** What is new goes through again. */
  release(): void {
    this.#open = true
  }

  #join(client: Socket, server: Socket, { swallow }: RelayOptions): void {
    const pair: [Socket, Socket] = [client, server]
    this.#pairs.add(pair)
    let swallowed = !this.#open
    client.on('data', (data) => {
      const text = data.toString('latin1')
      swallowed ||= swallow?.test(text) ?? false
      if (this.cutAt?.test(text)) this.#cutOnAnswer(client, server)
      if (!server.write(data)) {
        client.pause()
        server.once('drain', () => client.resume())
      }
    })
    server.on('data', (data) => {
      if (swallowed || !this.#open || client.write(data)) return
      server.pause()
      client.once('drain', () => server.resume())
    })
    const end = () => {
      this.#pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    for (const socket of pair) socket.on('close', end).on('error', end)
  }

  /** The server has done what it was asked, and the client never hears of it. */
  #cutOnAnswer(client: Socket, server: Socket): void {
    this.cutAt = undefined
    server.removeAllListeners('data')
    server.once('data', () => client.destroy())
  }
}
