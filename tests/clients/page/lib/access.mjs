// What makes a page usable for everybody: axe-core's rules, no scrolling sideways, nothing that jumps.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** The rules of WCAG 2.2 AA, and what axe-core calls best practice. */
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

/** Fails if axe-core finds anything in what is shown now. */
export async function accessible(page, what) {
  await page.evaluate(`${axe}; undefined`)
  const violations = await page.evaluate(check, TAGS)
  assert.deepEqual(violations, [], `${what}: ${JSON.stringify(violations, null, 1)}`)
}

/** In the page. */
async function check(tags) {
  const { violations } = await window.axe.run(document, { runOnly: tags })
  return violations.map(({ id, help, nodes }) => ({
    id,
    help,
    nodes: nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`.slice(0, 600)),
  }))
}

/** Fails if the page is wider than its window. */
export async function fits(page, what) {
  const tooWide = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth)
  assert.ok(tooWide <= 0, `${what}: ${tooWide} pixels too wide`)
}

/** Runs in every document, before anything of it: adds up what jumps. */
export function noteShifts() {
  window.shifted = 0
  window.shifts = []
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput, sources } of list.getEntries()) {
      if (hadRecentInput) continue
      window.shifted += value
      window.shifts.push(
        `${value.toFixed(4)} ${sources.map(({ node }) => node?.parentElement?.outerHTML.slice(0, 80))}`,
      )
    }
  }).observe({ type: 'layout-shift', buffered: true })
}

/** Fails if the layout has moved by more than hardly anything. */
export async function steady(page, what) {
  const { shifted, shifts } = await page.evaluate(() => ({ shifted: window.shifted, shifts: window.shifts }))
  assert.ok(shifted < 0.02, `${what}: moved by ${shifted}: ${shifts.join('\n')}`)
  return shifted
}
