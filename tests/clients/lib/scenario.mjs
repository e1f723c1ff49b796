// What every scenario has in common: a folder of its own, a deadline, one line of JSON on standard
// output that says what was seen, and exit status 0 or 1.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SECONDS_MAX = 120

/**
 * Runs `work(folder)` and ends the process.
 *
 * The folder is removed afterwards, whatever happens. A scenario that neither ends nor fails by
 * itself is ended here, and not by whoever started it, so that it takes its server along.
 */
export async function scenario(work, { secondsMax = SECONDS_MAX, parent = tmpdir() } = {}) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => end(new Error(`ended by ${signal}`)))
  }
  const folder = await mkdtemp(join(parent, 'tidegate-client-'))
  const overdue = () => end(new Error(`not done within ${secondsMax} s`))
  setTimeout(overdue, secondsMax * 1000)

  async function end(error, seen) {
    await rm(folder, { recursive: true, force: true })
    if (error) console.error(error)
    console.log(JSON.stringify(error ? { ok: false, error: error.message } : { ok: true, ...seen }))
    process.exit(error ? 1 : 0)
  }

  try {
    await end(null, await work(folder))
  } catch (error) {
    await end(error)
  }
}

/** As `scenario`, for those that are given the creation URL of a running server. */
export function scenarioAt(work) {
  const endpoint = process.argv[2]
  if (!URL.canParse(endpoint ?? '')) {
    console.error(`usage: node ${process.argv[1]} CREATION_URL`)
    process.exit(2)
  }
  return scenario((folder) => work(endpoint, folder))
}
