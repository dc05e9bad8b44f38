import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connectToGrants, grantClient } from '../../../src/exclusive/grant-socket.ts'
import { ERRNO } from '../../../src/linux/errors.ts'
import { close } from '../../../src/linux/file.ts'
import { acceptUnix, connectUnix, listenUnix } from '../../../src/linux/unix-socket.ts'

const code = (name: string) => expect.objectContaining({ code: name })

let directory: string
let socket: string
let listening: number
let open: number[]

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-socket-'))
  socket = path.join(directory, '0:1.grants')
  listening = listenUnix(socket)
  open = [listening]
})

afterEach(() => {
  for (const fd of open) close(fd)
  fs.rmSync(directory, { recursive: true })
})

test('a mount that takes nobody, or says nothing, is not waited for without end, and this thread goes on meanwhile', async () => {
  const client = await connectToGrants([socket], 50)
  await expect(client?.ready()).rejects.toEqual(code('ETIMEDOUT'))
  expect(client?.isOpen).toBe(false)
  // As many as wait to be taken.
  for (let fd = 0; fd >= 0; open.push(fd)) fd = await connectUnix(socket, 20)
  expect(open.pop()).toBe(-ERRNO.EAGAIN)
  expect(open.length).toBeGreaterThan(100)
  let ticks = 0
  const ticking = setInterval(() => ticks++, 5)
  await expect(connectToGrants([socket], 200)).rejects.toEqual(code('ETIMEDOUT'))
  clearInterval(ticking)
  expect(ticks).toBeGreaterThan(5)
})

test('a mount that closes before it has said anything has refused', async () => {
  const connecting = await connectUnix(socket, 1000)
  const client = grantClient(connecting)
  close(acceptUnix(listening))
  await expect(client.ready()).rejects.toEqual(code('ECONNREFUSED'))
  await expect(client.attend(1, { fd: -1, path: 'f' })).rejects.toEqual(code('ECONNREFUSED'))
  // Its descriptor may be another's by now.
  client.close()
})

test('where nobody listens there is no mount', async () => {
  expect(await connectToGrants([`${socket}-not`])).toBeUndefined()
})
