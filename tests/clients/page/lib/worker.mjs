// Workers, as programs, and images for them.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

import { eventually } from '../../lib/file.mjs'

/** Draws images as of a microscope, all at once: the interpreter takes longest to begin. */
export function draw(python, folder, names) {
  const code = `
import sys
from pathlib import Path
from tidegate_worker.examples.cells import photograph, save, scatter
for seed, path in enumerate(sys.argv[1:]):
    save(photograph(scatter(12, 320, 240, seed=seed), 320, 240, seed=seed), Path(path))
`
  const paths = names.map((name) => join(folder, name))
  execFileSync(python, ['-B', '-c', code, ...paths])
  return paths
}

/** Starts a worker, and returns once the server has heard of it. `end()` stops it. */
export async function work(python, store, ...flags) {
  const module = ['-B', '-m', 'tidegate_worker.examples.segment', '--server', store.origin]
  const worker = spawn(python, [...module, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  worker.stderr.on('data', (text) => {
    log += text
  })
  const gone = once(worker, 'exit')
  // A scenario that fails does not leave its worker behind.
  const kill = () => worker.kill('SIGKILL')
  process.on('exit', kill)
  await eventually(async () => {
    if (worker.exitCode !== null) throw new Error(`the worker has ended: ${log}`)
    return (await store.get('/api/queue/health')).mlServiceHealthy
  })
  return {
    async end() {
      worker.kill('SIGTERM')
      await gone
      process.off('exit', kill)
    },
  }
}
