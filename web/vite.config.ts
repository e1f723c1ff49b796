import { fileURLToPath } from 'node:url'

import { defineConfig } from 'vite'

import { licenses } from './licenses.ts'

// A server to develop against: `TIDEGATE=http://127.0.0.1:7070 npm run dev`.
const server = process.env.TIDEGATE ?? 'http://127.0.0.1:7070'

const { page, worker } = licenses('assets/licenses.txt')

export default defineConfig({
  base: '/',
  plugins: page,
  resolve: {
    // These decoders of `geotiff` are WebAssembly, which the server's policy does not let a page have.
    alias: [
      {
        find: /^(zstddec|zstddec\/stream|lerc)$/,
        replacement: fileURLToPath(new URL('./src/images/absent.ts', import.meta.url)),
      },
    ],
  },
  build: {
    target: 'es2022',
    // The server sends nothing inline, and its policy lets a page have nothing inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  // Modules, so that a decoder is loaded with the first file that needs it.
  worker: { format: 'es', plugins: worker },
  server: { proxy: { '/api': { target: server, ws: true }, '/files': server, '/problems': server } },
})
