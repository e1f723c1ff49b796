/** What has happened, in order, and a way to wait for what is to come. */
export class Log<T> {
  readonly all: T[] = []
  #check: () => void = () => {}

  push = (entry: T): void => {
    this.all.push(entry)
    this.#check()
  }

  get last(): T | undefined {
    return this.all.at(-1)
  }

  /** Resolves with what the condition gives, once that is something. */
  until<R>(condition: (all: T[]) => R | undefined | false | null, what = condition.toString()): Promise<R> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}: ${inspect(this.all)}`)), 30_000)
      const before = this.#check
      const check = () => {
        const result = condition(this.all)
        if (!result) return
        clearTimeout(timer)
        resolve(result)
      }
      this.#check = () => {
        before()
        check()
      }
      check()
    })
  }

  /** Resolves with the first entry of this kind. */
  find(condition: (entry: T) => boolean): Promise<T> {
    return this.until((all) => all.find(condition), condition.toString())
  }
}

function inspect(all: unknown[]): string {
  return `${all.length} entries, at last ${JSON.stringify(all.slice(-5))}`
}

/** Resolves once a condition holds that nothing tells of. */
export async function eventually<R>(condition: () => Promise<R | undefined | false>): Promise<R> {
  const end = Date.now() + 30_000
  for (;;) {
    const result = await condition()
    if (result) return result
    if (Date.now() > end) throw new Error(`waited in vain for ${condition}`)
  }
}
