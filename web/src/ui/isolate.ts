// Names in texts. They may be written from right to left, or have characters in them that turn what follows.

const [BEGIN, END] = ['\u2068', '\u2069']

/** Sets a name apart from the text that it is in. */
export function isolate(name: string): string {
  return `${BEGIN}${name.replaceAll(BEGIN, '').replaceAll(END, '')}${END}`
}

/** Text, name, text, name, and so on. */
export function parted(text: string): string[] {
  return text.split(/[\u2068\u2069]/)
}
