/** Whether an event's type contains a text, or fits a pattern such as `upload.*`. */
export function fits(type: string, filter: string): boolean {
  const wanted = filter.trim().toLowerCase()
  if (!wanted.includes('*')) return type.includes(wanted)
  const pattern = wanted.split('*').map((part) => part.replace(/[^a-z]/g, '\\$&'))
  return new RegExp(`^${pattern.join('.*')}$`).test(type)
}
