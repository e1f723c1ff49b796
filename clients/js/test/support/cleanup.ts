import type { TestContext } from 'node:test'

const stacks = new WeakMap<TestContext, (() => unknown)[]>()

/** Runs after the test, what was made last first: an upload is cancelled before its server is gone. */
export function cleanup(test: TestContext, run: () => unknown): void {
  const stack = stacks.get(test)
  if (stack) {
    stack.push(run)
    return
  }
  const fresh = [run]
  stacks.set(test, fresh)
  test.after(async () => {
    for (const step of fresh.reverse()) await step()
  })
}
