/**
 * With the next frame, the focus goes to the element with this id if it was in something that is no longer there:
 * else whoever uses the keyboard would begin again at the top of the page.
 */
export function keepFocus(id = 'content'): void {
  requestAnimationFrame(() => {
    if (document.activeElement === document.body) document.getElementById(id)?.focus()
  })
}
