/// <reference lib="webworker" />

import type { TiffAnswer, TiffAsk, TiffCancel } from './tiff.js'
import { readTiff } from './tiff.read.js'

const scope = self as unknown as DedicatedWorkerGlobalScope
const running = new Map<number, AbortController>()

scope.addEventListener('message', async ({ data }: MessageEvent<TiffAsk | TiffCancel>) => {
  if ('cancelled' in data) return running.get(data.cancelled)?.abort()
  const { id } = data
  const control = new AbortController()
  running.set(id, control)
  let answer: TiffAnswer
  try {
    const picture = await readTiff(data, control.signal)
    answer = 'why' in picture ? { id, ...picture } : { id, ...picture }
  } catch {
    answer = { id, why: 'other' }
  }
  running.delete(id)
  scope.postMessage(answer, 'bitmap' in answer ? [answer.bitmap] : [])
})
