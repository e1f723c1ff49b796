// tus-js-client with a log of what it did.

import { createReadStream } from 'node:fs'
import { Transform } from 'node:stream'

import { Upload, defaultOptions } from 'tus-js-client'

/** A file as the client's users give it. */
export const opened = (file) => createReadStream(file.path)

/** An upload that is not started yet, and the answers that it has got. */
export class Client {
  /** Every answered request, as `PATCH 204`. */
  answers = []
  /** The offsets that `HEAD` told. */
  resumedAt = []
  /** Why the client has tried again. */
  retries = []

  constructor(input, options) {
    this.done = new Promise((resolve, reject) => {
      this.upload = new Upload(input, {
        onShouldRetry: (error, ...more) => {
          this.retries.push(error.message)
          this.onRetry?.()
          return defaultOptions.onShouldRetry(error, ...more)
        },
        onAfterResponse: (request, response) => this.#note(request, response),
        onSuccess: resolve,
        onError: reject,
        ...options,
      })
    })
    // Whoever waits for it sees its error; nobody waits for an upload that is aborted.
    this.done.catch(() => {})
  }

  get url() {
    return this.upload.url
  }

  /** Uploads everything. */
  async run() {
    this.upload.start()
    await this.done
    return this
  }

  #note(request, response) {
    this.answers.push(`${request.getMethod()} ${response.getStatus()}`)
    if (request.getMethod() === 'HEAD' && response.getStatus() === 200) {
      this.resumedAt.push(Number(response.getHeader('Upload-Offset')))
    }
  }
}

/**
 * The client's own way to read files, except that every piece of a request's body first shows
 * `passing` where it ends in the file, and waits for the promise that this may return.
 */
export function watched(passing) {
  return {
    async openFile(input, chunkSize) {
      const source = await defaultOptions.fileReader.openFile(input, chunkSize)
      return {
        size: source.size,
        close: () => source.close(),
        async slice(start, end) {
          const { value, done } = await source.slice(start, end)
          const body = value.pipe(new Watch(start, passing))
          body.size = value.size
          return { value: body, done }
        },
      }
    },
  }
}

class Watch extends Transform {
  #at
  #passing

  constructor(start, passing) {
    super()
    this.#at = start
    this.#passing = passing
  }

  async _transform(piece, _encoding, callback) {
    this.#at += piece.length
    await this.#passing(this.#at)
    callback(null, piece)
  }
}
