/** What is handed over is answered, whatever comes of it: its client waits in the kernel, where no signal reaches him. A pipe stands for /dev/fuse. */
import fs from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type HandedOver, HandedOverRequests, handedOver } from '../../../../src/daemon/grants/handed-over.ts'
import { OPCODE_ROWS } from '../../../../src/fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../../../src/fuse/server.ts'
import { ERRNO } from '../../../../src/linux/errors.ts'
import { openPipe } from '../../../../src/linux/pipe.ts'

const READLINK = OPCODE_ROWS.find(({ name }) => name === 'READLINK')!.code

let reading: number
let writing: number
beforeEach(() => {
  ;[reading, writing] = openPipe()
})
afterEach(() => {
  for (const fd of [reading, writing]) fs.closeSync(fd)
})

/** A READLINK with the number 7. */
function request(): HandedOver {
  const words = new Uint32Array(10)
  words.set([words.byteLength, READLINK, 7])
  return handedOver(writing, new Uint8Array(words.buffer))
}

/** The answers that have been sent: the number of each, and its error. */
function answers(): [unique: number, error: number][] {
  // So that there is something to read.
  fs.writeSync(writing, new Uint8Array(16))
  const got = new Int32Array(1024)
  const length = fs.readSync(reading, got)
  const found: [number, number][] = []
  for (let at = 0; at < length / 4 - 4; at += got[at]! / 4) found.push([got[at + 2]!, got[at + 1]!])
  return found
}

function requestsWith(handler: Handler) {
  const failures: string[] = []
  const handlers: Handler[] = []
  handlers[READLINK] = handler
  const failed = (opcode: number, error: unknown) => failures.push(`${opcode} ${(error as Error).message}`)
  return { failures, requests: new HandedOverRequests({ handlers, maxBytes: 4096, failed }) }
}

test('a handler answers, with an error or without, or leaves it to somebody else', () => {
  for (const result of [0, -ERRNO.ENOENT]) {
    requestsWith(() => result).requests.run(request())
    expect(answers()).toEqual([[7, result]])
  }
  requestsWith(() => NO_REPLY).requests.run(request())
  expect(answers()).toEqual([])
})

test('a handler that throws, and errors that the kernel would refuse, are EIO', () => {
  const { requests, failures } = requestsWith(() => {
    throw new Error('a defect')
  })
  requests.run(request())
  expect(answers()).toEqual([[7, -ERRNO.EIO]])
  expect(failures).toEqual([`${READLINK} a defect`])
  requestsWith(() => -600).requests.run(request())
  expect(answers()).toEqual([[7, -ERRNO.EIO]])
})

test('who is to have it answered throws: EIO', () => {
  const { requests, failures } = requestsWith(() => 0)
  requests.attend(request(), () => {
    throw new Error('a defect')
  })
  expect(answers()).toEqual([[7, -ERRNO.EIO]])
  expect(failures).toEqual([`${READLINK} a defect`])
})

test('a signal ends the waiting, whether it comes before it or after', () => {
  const { requests } = requestsWith(() => 0)
  for (const order of ['before', 'after']) {
    const handed = request()
    if (order === 'before') requests.interrupt(handed.number)
    requests.waits(handed, () => requests.answer(handed, -ERRNO.EINTR))
    if (order === 'after') requests.interrupt(handed.number)
    expect(answers(), order).toEqual([[7, -ERRNO.EINTR]])
    expect(requests.waitingCount).toBe(0)
  }
})
