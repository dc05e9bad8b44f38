/** What goes to systemd and to the system log, received by a socket of ours: Node.js has none of this kind, so the C library's. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'
import { notifyReady } from '../../../src/cli/systemd.ts'
import { sendDatagram } from '../../../src/linux/datagram.ts'
import { ERRNO } from '../../../src/linux/errors.ts'
import { close } from '../../../src/linux/file.ts'
import { check, libc, type Pointer } from '../../../src/linux/native.ts'

const socketCall = libc<[number, number, number]>('socket', 'int', ['int', 'int', 'int'])
const bindCall = libc<[number, Pointer, number]>('bind', 'int', ['int', 'void*', 'uint'])
const recvCall = libc<[number, Pointer, number, number]>('recv', 'long', ['int', 'void*', 'size_t', 'int'])
const AF_UNIX = 1
const SOCK_DGRAM_NONBLOCK = 2 | 0o4000

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-notify-'))
const sockets: number[] = []
const inherited = process.env.NOTIFY_SOCKET

afterEach(() => {
  for (const fd of sockets.splice(0)) close(fd)
  for (const name of fs.readdirSync(directory)) fs.rmSync(path.join(directory, name))
  if (inherited === undefined) delete process.env.NOTIFY_SOCKET
  else process.env.NOTIFY_SOCKET = inherited
})

afterAll(() => fs.rmSync(directory, { recursive: true }))

/** Listens at a path, or at `@name`; returns a function that takes the next message, undefined where there is none. */
function listen(address: string): () => string | undefined {
  const fd = check(socketCall(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0), 'socket')
  sockets.push(fd)
  const name = Buffer.from(address.startsWith('@') ? `\0${address.slice(1)}` : `${address}\0`)
  const socketAddress = Buffer.concat([Buffer.from(Uint16Array.of(AF_UNIX).buffer), name])
  check(bindCall(fd, socketAddress, socketAddress.length), 'bind')
  return () => {
    const bytes = Buffer.alloc(4096)
    const length = recvCall(fd, bytes, bytes.length, 0)
    return length < 0 ? undefined : bytes.toString('utf8', 0, length)
  }
}

test.each([`${directory}/notify`, `@samepage-test-${process.pid}`])(
  'a datagram arrives at %s as it was sent',
  (address) => {
    const next = listen(address)
    expect(sendDatagram(address, 'für systemd')).toBe(0)
    expect(sendDatagram(address, 'two', true)).toBe(0)
    expect([next(), next(), next()]).toEqual(['für systemd', 'two', undefined])
  },
)

test('a listener that is not there, or does not keep up, is an error and no wait', () => {
  expect(sendDatagram(`${directory}/nobody`, 'x')).toBe(-ERRNO.ENOENT)
  expect(sendDatagram(`/${'x'.repeat(120)}`, 'x')).toBe(-ERRNO.ENAMETOOLONG)
  listen(`${directory}/busy`)
  let result = 0
  for (let i = 0; i < 100_000 && result === 0; i++) result = sendDatagram(`${directory}/busy`, 'x'.repeat(1000))
  expect(result).toBe(-ERRNO.EAGAIN)
})

test('systemd is told by the service itself that it is ready, in one message', () => {
  const next = listen(`${directory}/notify`)
  process.env.NOTIFY_SOCKET = `${directory}/notify`
  notifyReady('serving /a\nREADY=0')
  // A line break in the name of a directory must not become an assignment.
  expect(next()).toBe(`MAINPID=${process.pid}\nREADY=1\nSTATUS=serving /a READY=0`)
  expect(next()).toBeUndefined()
})

test('without systemd, and with an address that is no Unix socket, nothing happens', () => {
  delete process.env.NOTIFY_SOCKET
  expect(() => notifyReady('serving')).not.toThrow()
  process.env.NOTIFY_SOCKET = 'vsock:2:1234'
  expect(() => notifyReady('serving')).not.toThrow()
})
