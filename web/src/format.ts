// Numbers and times for people.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Bytes, in powers of 1000 as disks are sold, with three digits. */
export function bytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
  return `${value.toFixed(digits)} ${UNITS[unit]}`
}

/** Bytes per second. */
export function rate(perSecond: number): string {
  return `${bytes(perSecond)}/s`
}

/** Seconds as `9 s`, `2:05`, `3:04:05`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 60) return `${whole} s`
  const two = (value: number) => String(value).padStart(2, '0')
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** Milliseconds, as they were measured. */
export function milliseconds(ms: number): string {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
}

const clockTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const dateAndTime = new Intl.DateTimeFormat('en-GB', {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
})

/** The time of day of an RFC 3339 time. */
export function clock(time: string): string {
  return clockTime.format(new Date(time))
}

export function dateTime(time: string): string {
  return dateAndTime.format(new Date(time))
}

/** The beginning of an id, enough to tell it from its neighbours. */
export function shortId(id: string): string {
  return id.slice(0, 8)
}
