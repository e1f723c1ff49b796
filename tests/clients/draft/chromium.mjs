// The IETF draft in a real browser, without a library: the lines of the README, as they stand there.
//
//     node draft/chromium.mjs CREATION_URL

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'

import { launch } from '../lib/browser.mjs'
import { scenarioAt } from '../lib/scenario.mjs'

const readme = await readFile(new URL('../../../README.md', import.meta.url), 'utf8')
const [, lines] = readme.match(/In the console of a page[^]*?```js\n([^]*?)```/)

await scenarioAt(async (endpoint) => {
  const browser = await launch()
  try {
    const page = await browser.newPage()
    await page.goto(new URL('/problems/upload-cancelled', endpoint).href)
    const url = await page.evaluate(`(async () => { ${lines}; return url })()`)
    const answer = await fetch(url)
    const seen = { status: answer.status, type: answer.headers.get('Content-Type'), text: await answer.text() }
    assert.deepEqual(seen, { status: 200, type: 'text/plain', text: 'hello tide' })
    assert.equal(answer.headers.get('Upload-Complete'), '?1')
    return { url, ...seen }
  } finally {
    await browser.close()
  }
})
