// Cancelling uploads of others while they run.

import assert from 'node:assert/strict'

/** Cancels the upload at `url`, and says how long the answer took. */
export async function cancel(url) {
  const begun = performance.now()
  const headers = { 'Tus-Resumable': '1.0.0' }
  const answer = await fetch(url, { method: 'DELETE', headers })
  assert.equal(answer.status, 204, 'the answer to the canceller')
  return performance.now() - begun
}

/** One round: the sender must have read the 410 to its PATCH and must not have begun anew. */
export function check({ answers, error }, round) {
  const seen = `round ${round}: ${answers.join(', ')} (${error})`
  assert.equal(answers.at(-1), 'PATCH 410', seen)
  assert.equal(answers.filter((answer) => answer.startsWith('POST')).length, 1, seen)
  assert.ok(!answers.some((answer) => answer.startsWith('HEAD')), seen)
}

/** Middle and worst of the canceller's waits, in milliseconds. */
export function waits(ms) {
  const sorted = [...ms].sort((a, b) => a - b)
  const rounded = (value) => Math.round(value * 10) / 10
  return { median: rounded(sorted[sorted.length >> 1]), max: rounded(sorted.at(-1)) }
}
