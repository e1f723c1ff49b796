import { text } from '../text.js'

interface Props {
  label: string
  /** 0 to 1; `undefined` while nobody knows. */
  share: number | undefined
  quiet?: boolean
}

/** How far something is. */
export function Bar({ label, share, quiet = false }: Props) {
  const percent = share === undefined ? undefined : Math.floor(Math.min(1, Math.max(0, share)) * 100)
  return (
    <span class={quiet ? 'progress ended' : 'progress'}>
      <progress aria-label={label} max={100} {...(percent === undefined ? {} : { value: percent })} />
      <span class="percent" aria-hidden="true">
        {percent === undefined ? text.unknown : `${percent} %`}
      </span>
    </span>
  )
}
