/** The channel over a descriptor, and notices: a pipe stands for /dev/fuse. */
import fs from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DeviceChannel } from '../../../src/fuse/channel.ts'
import { Reply, Request } from '../../../src/fuse/messages.ts'
import { invalidateInode } from '../../../src/fuse/notify.ts'
import { ERRNO } from '../../../src/linux/errors.ts'
import { openPipe } from '../../../src/linux/pipe.ts'

let reading: number
let writing: number
beforeEach(() => {
  ;[reading, writing] = openPipe()
})
afterEach(() => {
  for (const fd of [reading, writing]) if (fd >= 0) fs.closeSync(fd)
})

function taken(): string {
  const buffer = Buffer.alloc(4096)
  return buffer.subarray(0, fs.readSync(reading, buffer)).toString('hex')
}

test('a request that is there is received, with or without spinning', () => {
  for (const spins of [0, 1, 50]) {
    let asked = 0
    const channel = new DeviceChannel(reading, spins, () => ++asked > 1_000)
    fs.writeSync(writing, Buffer.from('message'))
    const request = new Request(64)
    expect(channel.receive(request)).toBe(7)
    expect(Buffer.from(request.bytes.subarray(0, 7)).toString()).toBe('message')
    // Before it sleeps it asks whether to leave, after as many looks as it was told to take.
    expect(asked).toBe(spins === 0 ? 1 : 0)
  }
})

test('who is told to leave does not sleep', () => {
  const channel = new DeviceChannel(reading, 3, () => true)
  expect(channel.receive(new Request(64))).toBe(0)
})

test('errors that end the channel are told, and others are not', () => {
  const request = new Request(64)
  expect(new DeviceChannel(-1, 1, () => true).receive(request)).toBe(-ERRNO.EBADF)
  fs.closeSync(writing)
  writing = -1
  // The other end is gone.
  expect(new DeviceChannel(reading, 1, () => true).receive(request)).toBe(0)
})

test('an answer is written as it stands, up to its length', () => {
  const reply = new Reply(64)
  reply.setU32(0, 0x04030201)
  const channel = new DeviceChannel(writing, 0, () => true)
  expect(channel.send(reply, reply.finish(1, 2, 0, 4))).toBe(0)
  expect(taken()).toBe('14000000000000000100000002000000' + '01020304')
  expect(new DeviceChannel(-1, 0, () => true).send(reply, 20)).toBe(-ERRNO.EBADF)
})

test('notices to forget attributes, or pages too', () => {
  expect(invalidateInode(writing, 2 ** 32 + 5, -1, 0)).toBe(0)
  expect(taken()).toBe(`28000000${'02000000'}${'0'.repeat(16)}${'0500000001000000'}${'f'.repeat(16)}${'0'.repeat(16)}`)
  expect(invalidateInode(writing, 6, 4096, 2 ** 33)).toBe(0)
  expect(taken()).toBe(
    `28000000${'02000000'}${'0'.repeat(16)}${'0600000000000000'}0010000000000000${'0000000002000000'}`,
  )
  expect(invalidateInode(-1, 6, 0, 0)).toBe(-ERRNO.EBADF)
})
