/** The server over a channel that a test holds in its hands. */
import { describe, expect, test } from 'vitest'
import type { Channel } from '../../../src/fuse/channel.ts'
import type { Reply, Request } from '../../../src/fuse/messages.ts'
import { OPCODE_ROWS, type OpcodeName } from '../../../src/fuse/protocol.ts'
import { type Handler, NO_REPLY, Server } from '../../../src/fuse/server.ts'
import { ERRNO } from '../../../src/linux/errors.ts'

const codeOf = (name: OpcodeName) => OPCODE_ROWS.find((row) => row.name === name)!.code

interface Message {
  opcode: number
  /** Bytes of the body. */
  body?: Uint8Array
  /** What the header says, where that is not the truth. */
  length?: number
  unique?: [low: number, high: number]
}

/** Gives the messages out, one at a time; takes answers down. */
class FakeChannel implements Channel {
  readonly answers: { length: number; error: number; unique: [number, number]; payload: Buffer }[] = []
  /** What the next sends come to; 0 where there is nothing more. */
  readonly sendResults: number[] = []
  readonly #messages: (Message | number)[]

  constructor(...messages: (Message | number)[]) {
    this.#messages = messages
  }

  receive(request: Request): number {
    const message = this.#messages.shift() ?? -ERRNO.ENODEV
    if (typeof message === 'number') return message
    const { opcode, body = new Uint8Array(), unique = [7, 9] } = message
    request.bytes.fill(0xee)
    request.words.fill(0, 0, 10)
    const length = 40 + body.length
    request.words.set([message.length ?? length, opcode, ...unique, 1, 0], 0)
    request.bytes.set(body, 40)
    return length
  }

  send(reply: Reply, bytes: number): number {
    const header = new Int32Array(reply.bytes.buffer, 0, 4)
    const payload = Buffer.from(reply.bytes.subarray(16, bytes))
    this.answers.push({ length: header[0]!, error: header[1]!, unique: [header[2]!, header[3]!], payload })
    expect(header[0]).toBe(bytes)
    return this.sendResults.shift() ?? 0
  }
}

function serve(channel: FakeChannel, handlers: Partial<Record<OpcodeName, Handler>> = {}) {
  const table: (Handler | undefined)[] = []
  for (const [name, handler] of Object.entries(handlers)) table[codeOf(name as OpcodeName)] = handler
  const log: string[] = []
  const server = new Server(
    table,
    {
      began: (low, high) => log.push(`began ${high}:${low}`),
      ended: (opcode, error, seconds) => {
        log.push(`ended ${opcode} ${error}`)
        expect(seconds).toBeGreaterThanOrEqual(0)
      },
      failed: (opcode, error) => log.push(`failed ${opcode} ${(error as Error).message}`),
    },
    64 << 10,
  )
  let last: number
  do last = server.serveOne(channel)
  while (last >= 0)
  return { last, log, answers: channel.answers }
}

describe('one request', () => {
  test('is answered with what its handler wrote, under its own number', () => {
    const channel = new FakeChannel({ opcode: codeOf('GETATTR'), body: new Uint8Array(16), unique: [0x1234, 0x56] })
    const { answers, log, last } = serve(channel, {
      GETATTR(_, reply) {
        reply.setU32(0, 0x01020304)
        return 4
      },
    })
    expect(answers).toEqual([{ length: 20, error: 0, unique: [0x1234, 0x56], payload: Buffer.from([4, 3, 2, 1]) }])
    expect(log).toEqual(['began 86:4660', 'ended 3 0'])
    expect(last).toBe(-ERRNO.ENODEV)
  })

  test('with a negative result is answered with that error, and no payload', () => {
    const { answers, log } = serve(new FakeChannel({ opcode: codeOf('READLINK') }), { READLINK: () => -ERRNO.EINVAL })
    expect(answers).toMatchObject([{ length: 16, error: -ERRNO.EINVAL }])
    expect(log).toEqual(['began 9:7', `ended 5 ${ERRNO.EINVAL}`])
  })

  test('with an empty answer is answered all the same', () => {
    const { answers } = serve(new FakeChannel({ opcode: codeOf('READLINK') }), { READLINK: () => 0 })
    expect(answers).toMatchObject([{ length: 16, error: 0 }])
  })

  test('whose handler throws is answered with EIO, and the next one is served', () => {
    const channel = new FakeChannel({ opcode: codeOf('READLINK') }, { opcode: codeOf('STATFS') })
    const { answers, log } = serve(channel, {
      READLINK() {
        throw new Error('a defect')
      },
      STATFS: () => 0,
    })
    expect(answers.map(({ error }) => error)).toEqual([-ERRNO.EIO, 0])
    expect(log).toEqual(['began 9:7', 'failed 5 a defect', `ended 5 ${ERRNO.EIO}`, 'began 9:7', 'ended 17 0'])
  })

  test('that somebody else answers is not answered here', () => {
    const { answers, log } = serve(new FakeChannel({ opcode: codeOf('OPEN'), body: new Uint8Array(8) }), {
      OPEN: () => NO_REPLY,
    })
    expect(answers).toEqual([])
    expect(log).toEqual(['began 9:7', 'ended 14 0'])
  })

  test.each(['FORGET', 'BATCH_FORGET', 'INTERRUPT'] as const)('%s is never answered, whatever comes of it', (name) => {
    const message = { opcode: codeOf(name), body: new Uint8Array(8) }
    const throwing = () => {
      throw new Error('a defect')
    }
    for (const handler of [() => 0, () => -ERRNO.EIO, throwing, undefined])
      expect(serve(new FakeChannel(message), handler === undefined ? {} : { [name]: handler }).answers).toEqual([])
    expect(serve(new FakeChannel({ opcode: codeOf(name) }), { [name]: () => 0 }).answers).toEqual([])
  })
})

describe('what no handler can be given', () => {
  test('opcodes that nobody handles, known or not, are answered with ENOSYS', () => {
    for (const opcode of [codeOf('SETATTR'), 7, 63, 64, 4096, 0xffff_ffff]) {
      const { answers } = serve(new FakeChannel({ opcode, body: new Uint8Array(88) }))
      expect(answers, `opcode ${opcode}`).toMatchObject([{ length: 16, error: -ERRNO.ENOSYS }])
    }
  })

  test('a request that is too short for its opcode does not reach the handler', () => {
    for (const { name, code, bytesMin, ...row } of OPCODE_ROWS) {
      let called = 0
      const handlers = { [name]: () => ++called && 0 }
      if (bytesMin > 0) {
        const { answers } = serve(new FakeChannel({ opcode: code, body: new Uint8Array(bytesMin - 1) }), handlers)
        expect(called, name).toBe(0)
        if (!('silent' in row)) expect(answers, name).toMatchObject([{ error: -ERRNO.EINVAL }])
      }
      serve(new FakeChannel({ opcode: code, body: new Uint8Array(bytesMin) }), handlers)
      expect(called, name).toBe(1)
    }
  })

  test('a header that tells another length than what came is answered with EIO', () => {
    let called = 0
    const handlers = { STATFS: () => ++called && 0 }
    for (const length of [0, 39, 41, 0xffff_ffff]) {
      const { answers } = serve(new FakeChannel({ opcode: codeOf('STATFS'), length }), handlers)
      expect(answers).toMatchObject([{ error: -ERRNO.EIO, unique: [7, 9] }])
    }
    expect(called).toBe(0)
  })
})

describe('the channel', () => {
  test('has no request: the loop is asked what to do', () => {
    const server = new Server([], { began: () => {}, ended: () => {}, failed: () => {} }, 4096)
    const channel = new FakeChannel(0, -ERRNO.ECONNABORTED)
    expect(server.serveOne(channel)).toBe(0)
    expect(server.serveOne(channel)).toBe(-ERRNO.ECONNABORTED)
  })

  test('does not take an answer, of whatever kind: the client gets EIO instead, and does not wait for ever', () => {
    for (const result of [80, 0, -ERRNO.ENOENT]) {
      const channel = new FakeChannel({ opcode: codeOf('STATFS') })
      channel.sendResults.push(-ERRNO.EINVAL)
      const { answers, log } = serve(channel, { STATFS: () => result })
      expect(answers).toMatchObject([
        { error: Math.min(result, 0), length: 16 + Math.max(result, 0) },
        { error: -ERRNO.EIO, length: 16, unique: [7, 9] },
      ])
      expect(log.at(-1)).toBe(`ended 17 ${ERRNO.EIO}`)
    }
  })

  test('knows the request no more (its client was killed): nothing more is sent', () => {
    const gone = new FakeChannel({ opcode: codeOf('STATFS') })
    gone.sendResults.push(-ERRNO.ENOENT)
    expect(serve(gone, { STATFS: () => 80 }).answers.length).toBe(1)
  })
})
