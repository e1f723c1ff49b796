// A server of the test's own, which can be killed and comes back at the same address.

import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { Tidegate } from '@tidegate/client'
import { cleanup } from './cleanup.ts'

export const BINARY = process.env.TIDEGATE_BIN ?? resolve(import.meta.dirname, '../../../../target/debug/tidegate')

export class Server {
  dataDir = mkdtempSync(join(tmpdir(), 'tidegate-client-'))
  flags: string[]
  #address = '127.0.0.1:0'
  #process: ChildProcess | undefined

  constructor(flags: string[] = []) {
    this.flags = flags
  }

  /** One that lives as long as the test. */
  static async of(test: TestContext, flags: string[] = []): Promise<Server> {
    const server = new Server(flags)
    cleanup(test, () => server.remove())
    await server.start()
    return server
  }

  get url(): string {
    return `http://${this.#address}`
  }

  get client(): Tidegate {
    return new Tidegate({ server: this.url })
  }

  /** Returns once it listens. */
  async start(): Promise<void> {
    const settings = Object.entries(process.env).filter(([name]) => !name.startsWith('TIDEGATE_'))
    const server = spawn(
      BINARY,
      ['serve', '--listen', this.#address, '--data-dir', this.dataDir, '--log-filter', 'error', ...this.flags],
      { env: Object.fromEntries(settings), stdio: ['ignore', 'pipe', 'inherit'] },
    )
    this.#process = server
    const [line] = await Promise.race([
      once(createInterface(server.stdout), 'line'),
      once(server, 'exit').then(([code, signal]) =>
        assert.fail(`the server ended before it listened: ${signal ?? code}`),
      ),
    ])
    const [, address] = /^tidegate listening on http:\/\/(.*)$/.exec(line) ?? []
    assert.ok(address, `the server's first line is ${line}`)
    this.#address = address
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const server = this.#process
    this.#process = undefined
    if (!server || server.exitCode !== null || server.signalCode !== null) return
    const gone = once(server, 'exit')
    server.kill(signal)
    await gone
  }

  /** Comes back with nothing of what it knew. */
  async startAnew(): Promise<void> {
    await this.end()
    rmSync(this.dataDir, { recursive: true })
    await this.start()
  }

  /** What it has begun to answer it answers. */
  async remove(): Promise<void> {
    await this.end('SIGTERM')
    rmSync(this.dataDir, { recursive: true, force: true })
  }
}

/** A secret that logins are signed with. */
export function secretFile(test: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'tidegate-secret-'))
  cleanup(test, () => rmSync(dir, { recursive: true }))
  const file = join(dir, 'secret')
  writeFileSync(file, randomBytes(32).toString('base64'), { mode: 0o600 })
  return file
}

/** A login that the server accepts whose flags these are. */
export function login(user: string, flags: string[]): string {
  return execFileSync(BINARY, ['token', '--user', user, ...flags], { encoding: 'utf8' }).trim()
}
