// In the place of decoders that a page may not have. A picture that needs one is not shown.

export class ZSTDDecoder {
  init(): Promise<void> {
    return Promise.reject(new Error('there is no such decoder'))
  }
}

export default {}
