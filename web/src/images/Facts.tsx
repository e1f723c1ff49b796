import { useMemo } from 'preact/hooks'

import { dateTime } from '../format.js'
import { text } from '../text.js'
import { numbersOf } from './outlines.js'
import type { Result } from './types.js'

const words = text.images.viewer

/** What was found, in numbers. */
export function Facts({ result }: { result: Result | null | undefined }) {
  const facts = useMemo(() => (result ? factsOf(result) : []), [result])
  if (!result) return <p class="viewer-nothing faint">{result === null ? words.noResult : text.loading}</p>
  return (
    <dl class="viewer-facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{words.facts[name]}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

type Fact = [keyof typeof words.facts, string]

function factsOf(result: Result): Fact[] {
  const { objects, holes, totalArea, meanArea } = numbersOf(result)
  const facts: [Fact[0], string | undefined][] = [
    ['objects', words.count(objects)],
    ['holes', words.count(holes)],
    ['totalArea', words.area(totalArea)],
    ['meanArea', meanArea === undefined ? undefined : words.area(meanArea)],
    ['size', words.size(result.imageSize.width, result.imageSize.height)],
    ['model', result.model],
    ['threshold', result.threshold.toFixed(2)],
    ['time', dateTime(result.createdAt)],
    ['took', result.processingTimeMs === undefined ? undefined : words.took(result.processingTimeMs)],
  ]
  return facts.filter((fact): fact is Fact => fact[1] !== undefined)
}
