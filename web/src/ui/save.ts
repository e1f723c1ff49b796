/** Has the browser save what is at an address, under this name or that of the answer. */
export function save(address: string, name = ''): void {
  const link = document.createElement('a')
  link.href = address
  link.download = name
  link.click()
}
