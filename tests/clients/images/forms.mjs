// Forms as Node.js and a real Chromium write them: files of a `FormData`, with names that need
// care; and a form of the page's own making, which names its files, and cancels one of them while
// it streams.
//
//     node images/forms.mjs CREATION_URL

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'

import { launch } from '../lib/browser.mjs'
import { scenarioAt } from '../lib/scenario.mjs'

const NAMES = ['a.png', 'Grün 😀.png', 'quo"te\r\nline.png', 'back\\slash\\', '100 %; filename=x.png', "../up'.png"]

/** Runs in a page as well: it knows nothing around it. */
async function sendFormData(url, names) {
  const form = new FormData()
  form.append('note', 'not an image')
  for (const name of names) {
    form.append('images', new File([`content of ${name}`], name, { type: 'image/png' }))
  }
  const answer = await fetch(url, { method: 'POST', body: form })
  return { status: answer.status, body: await answer.json() }
}

/** As above. The one that is cancelled is large, and the cancel is sent when it has begun. */
async function sendNamed(url) {
  const ids = [crypto.randomUUID(), crypto.randomUUID()]
  const boundary = crypto.randomUUID()
  const head = (id, name) =>
    `--${boundary}\r\nContent-Disposition: form-data; name="images"; filename="${name}"\r\n` +
    `Content-Type: image/png\r\nX-Upload-Id: ${id}\r\n\r\n`
  const large = new Uint8Array(128 << 20)
  const parts = [head(ids[0], 'large.png'), large, '\r\n', head(ids[1], 'next.png'), 'next', '\r\n']
  const body = new Blob([...parts, `--${boundary}--\r\n`])
  const headers = { 'Content-Type': `multipart/form-data; boundary=${boundary}` }
  const sent = fetch(url, { method: 'POST', headers, body })
  const upload = new URL(`/api/uploads/${ids[0]}`, url)
  while ((await fetch(upload)).status === 404);
  const json = { 'Content-Type': 'application/json' }
  const cancelled = await fetch(`${upload}/cancel`, { method: 'POST', headers: json, body: '{}' })
  const answer = await sent
  return {
    ids,
    outcome: (await cancelled.json()).data.outcome,
    status: answer.status,
    body: await answer.json(),
  }
}

async function check(run, url) {
  const { status, body } = await run(sendFormData, url, NAMES)
  assert.equal(status, 201, JSON.stringify(body))
  assert.equal(body.data.failedCount, 0, JSON.stringify(body))
  assert.deepEqual(body.data.images.map((image) => image.metadata.filename), NAMES)
  for (const [index, image] of body.data.images.entries()) {
    const content = `content of ${NAMES[index]}`
    assert.equal(image.sha256, createHash('sha256').update(content).digest('hex'))
    const download = await fetch(new URL(image.url, url))
    assert.equal(await download.text(), content)
  }
  const named = await run(sendNamed, url)
  // On a busy machine the bytes may take a moment to go.
  assert.match(named.outcome, /^cancell(ed|ing)$/)
  assert.equal(named.status, 201, JSON.stringify(named.body))
  const { images, failedFiles } = named.body.data
  assert.deepEqual(images.map((image) => [image.id, image.filename]), [[named.ids[1], 'next.png']])
  assert.deepEqual(failedFiles.map((file) => [file.id, file.code]), [[named.ids[0], 'UPLOAD_CANCELLED']])
  return images.length + body.data.images.length
}

await scenarioAt(async (endpoint) => {
  const url = new URL('/api/projects/default/images', endpoint).href
  const node = await check((work, ...given) => work(...given), url)
  const browser = await launch()
  try {
    const page = await browser.newPage()
    await page.goto(new URL('/problems/upload-cancelled', endpoint).href)
    const evaluate = (work, ...given) => page.evaluate(`(${work})(...${JSON.stringify(given)})`)
    return { node, chromium: await check(evaluate, url) }
  } finally {
    await browser.close()
  }
})
