// Uploads as any client makes them.

import assert from 'node:assert/strict'

const TUS = { 'Tus-Resumable': '1.0.0' }

/** Gives the id. */
export async function create(server: string, length = 10, headers: Record<string, string> = {}): Promise<string> {
  const answer = await fetch(`${server}/files`, {
    method: 'POST',
    headers: { ...TUS, 'Upload-Length': String(length), ...headers },
  })
  assert.equal(answer.status, 201, await answer.text())
  return String(answer.headers.get('Location')).replace(/.*\//, '')
}

/** Gives the status. */
export async function creation(server: string, id: string, length: number): Promise<number> {
  const headers = { ...TUS, 'Upload-Length': String(length), 'Upload-Id': id }
  return (await fetch(`${server}/files`, { method: 'POST', headers })).status
}

export async function remove(server: string, id: string): Promise<void> {
  const answer = await fetch(`${server}/files/${id}`, { method: 'DELETE', headers: TUS })
  assert.equal(answer.status, 204, await answer.text())
}
