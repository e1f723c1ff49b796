// What is bundled may be passed on with its licence, and not without.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'vite'

/** Folders of the packages that something was bundled of. Workers are bundles of their own, made before the page's. */
const folders = new Set<string>()

/** Notes what goes into a bundle. */
function noting(): Plugin {
  return {
    name: 'note-packages',
    generateBundle(_, bundle) {
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== 'chunk') continue
        for (const id of chunk.moduleIds) {
          const folder = /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1]
          if (folder !== undefined) folders.add(folder)
        }
      }
    },
  }
}

/** Writes down the licences of everything that was noted. */
function writing(fileName: string): Plugin {
  return {
    name: 'write-licenses',
    generateBundle() {
      const source = [...folders].map(licenseOf).sort().join('\n\n')
      this.emitFile({ type: 'asset', fileName, source })
    },
  }
}

function licenseOf(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
  const words = file === undefined ? '' : readFileSync(join(folder, file), 'utf8').replaceAll('\r', '').trim()
  return `## ${name} ${version}, ${license}\n\n${words}`.trim()
}

export function licenses(fileName: string): { page: Plugin[]; worker: () => Plugin[] } {
  return { page: [noting(), writing(fileName)], worker: () => [noting()] }
}
