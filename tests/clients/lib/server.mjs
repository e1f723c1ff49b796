// A server of the scenario's own, which can be ended and comes back at the same address.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

const FIRST_LINE = /^tidegate listening on http:\/\/(.*)$/

export class Server {
  #binary
  #flags
  #process

  /** Any free port of `host` on the first start; the same one from then on. */
  constructor({ binary, dataDir, host = '127.0.0.1', flags = [] }) {
    this.#binary = binary
    this.#flags = ['--data-dir', dataDir, ...flags]
    this.address = `${host}:0`
    // A scenario that fails does not leave its server behind.
    process.on('exit', () => this.#process?.kill('SIGKILL'))
  }

  get endpoint() {
    return `http://${this.address}/files`
  }

  /** Returns once it listens. */
  async start() {
    const settings = Object.entries(process.env).filter(([name]) => !name.startsWith('TIDEGATE_'))
    const server = spawn(this.#binary, ['serve', '--listen', this.address, ...this.#flags], {
      env: Object.fromEntries(settings),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#process = server
    const [line] = await Promise.race([
      once(createInterface(server.stdout), 'line'),
      once(server, 'exit').then(([code, signal]) => {
        throw new Error(`the server ended before it listened: ${signal ?? code}`)
      }),
    ])
    const [, address] = line.match(FIRST_LINE) ?? []
    assert.ok(address, `the server's first line is ${line}`)
    this.address = address
  }

  /** Ends it with this signal, and returns its exit status once it is gone. */
  async end(signal) {
    const gone = once(this.#process, 'exit')
    this.#process.kill(signal)
    const [code] = await gone
    return code
  }
}
