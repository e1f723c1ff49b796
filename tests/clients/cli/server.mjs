// Another tus server, for `tidegate upload --endpoint`: stores in the folder that it is given, takes
// any free port, prints its creation URL, and runs until it is ended. What extensions it is to have
// may stand behind the folder, with commas.

import { createServer } from 'node:http'

import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const [, , directory, extensions] = process.argv
const datastore = new FileStore({ directory })
if (extensions) datastore.extensions = extensions.split(',')
const server = new Server({ path: '/uploads', datastore })
const listener = createServer((request, response) => server.handle(request, response))
listener.listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${listener.address().port}/uploads`)
})
