/** Whether an event's type contains a text, or fits a pattern such as `upload.*`. */
export function fits(type: string, filter: string): boolean {
  const wanted = filter.trim().toLowerCase()
  const [first = '', ...more] = wanted.split('*')
  const last = more.pop()
  if (last === undefined) return type.includes(wanted)
  // Part by part, each as early as it comes: no pattern takes longer than to read the type once.
  if (!type.startsWith(first)) return false
  let at = first.length
  for (const part of more) {
    const found = type.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return type.length - last.length >= at && type.endsWith(last)
}
