import type { Problem } from './types.js'

/** The server has refused. */
export class TidegateError extends Error {
  override readonly name = 'TidegateError'
  readonly status: number
  readonly problem: Problem
  /** The name of the request in the server's log. */
  readonly requestId: string | null
  /** In how many milliseconds it may be worth another try, if the server has said so. */
  readonly retryAfter: number | undefined

  constructor(problem: Problem, requestId: string | null = null, retryAfter?: number) {
    super(problem.detail ?? problem.title)
    this.status = problem.status
    this.problem = problem
    this.requestId = requestId
    this.retryAfter = retryAfter
  }

  static async of(answer: Response): Promise<TidegateError> {
    const problem = parseProblem(await answer.text(), answer.status)
    const retryAfter = parseRetryAfter(answer.headers.get('Retry-After'))
    return new TidegateError(problem, answer.headers.get('X-Request-Id'), retryAfter)
  }
}

/** `Retry-After`, seconds or a date, in milliseconds from now. */
export function parseRetryAfter(value: string | null | undefined): number | undefined {
  if (!value) return undefined
  const milliseconds = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isNaN(milliseconds) ? undefined : Math.max(milliseconds, 0)
}

/** What a refusal says. One that is not of the server's, such as a proxy's page, gets words of its own. */
export function parseProblem(text: string, status: number): Problem {
  try {
    const problem: unknown = JSON.parse(text)
    if (typeof problem === 'object' && problem !== null && 'code' in problem && 'title' in problem) {
      return problem as Problem
    }
  } catch {
    // Not JSON.
  }
  return { type: 'about:blank', title: `The server has answered ${status}`, status, code: 'UNKNOWN' }
}
