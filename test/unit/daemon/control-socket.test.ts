import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ask } from '../../../src/daemon/control-socket.ts'
import { UserError } from '../../../src/util/user-error.ts'

let directory: string
let server: http.Server | undefined
const socket = () => path.join(directory, 'socket')

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-control-'))
})
afterEach(() => {
  server?.close()
  server = undefined
  fs.rmSync(directory, { recursive: true })
})

/** A mount that answers so. */
async function answering(answer: http.RequestListener): Promise<void> {
  server = http.createServer(answer)
  await new Promise<void>((resolve) => server!.listen(socket(), resolve))
}

const asked = () => ask(socket(), '/status', { timeoutMs: 2000, name: '/mnt' }).catch((error: unknown) => error)

test('the answer is parsed; where nobody is there is none', async () => {
  expect(await asked()).toBeUndefined()
  await answering((_, response) => void response.end('{"schema":1}'))
  expect(await asked()).toEqual({ schema: 1 })
})

test.each<[how: string, answer: http.RequestListener, said: string]>([
  [
    'in the middle of its length',
    (_, response) => {
      response.writeHead(200, { 'content-length': 1000 }).write('{"schema":1,')
      setTimeout(() => response.destroy(), 20)
    },
    '/mnt did not answer to the end',
  ],
  [
    'between two chunks',
    (_, response) => {
      response.write('{"schema":1,')
      setTimeout(() => response.destroy(), 20)
    },
    '/mnt did not answer to the end',
  ],
  ['in the middle of the JSON', (_, response) => void response.end('{"schema":1,'), '/mnt did not answer to the end'],
  ['before it begins', (_, response) => void response.destroy(), '/mnt did not answer: socket hang up'],
  ['with another status', (_, response) => void response.writeHead(500).end('no'), '/mnt answered 500: no'],
])('an answer that ends %s is an error that names the mount', async (_, answer, said) => {
  await answering(answer)
  const error = await asked()
  expect(error).toBeInstanceOf(UserError)
  expect((error as Error).message).toBe(said)
})
