// A real Chromium that talks to nobody but the server.

import { chromium } from 'playwright-core'

// Without these a browser asks for updates and the like.
const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Starts it, with further arguments. */
export function launch(...more) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
  return chromium.launch({ executablePath, args: [...QUIET, ...more] })
}
