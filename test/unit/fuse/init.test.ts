/** INIT with kernels of all ages. */
import { describe, expect, test } from 'vitest'
import { answerInit, type Session } from '../../../src/fuse/init.ts'
import { Reply, Request } from '../../../src/fuse/messages.ts'
import { INIT, INIT_OUT_BYTES, INIT2, MINOR_VERSION_MAX, MINOR_VERSION_MIN } from '../../../src/fuse/protocol.ts'
import { ERRNO } from '../../../src/linux/errors.ts'

const EVERYTHING = 0xffff_ffff
const wishes = { passthrough: true, posixAcl: true, writable: false, maxReadBytes: 1 << 20 }

interface Kernel {
  major?: number
  minor?: number
  readahead?: number
  flags?: number
  flags2?: number
  /** Bytes of struct fuse_init_in: 16 before 7.36, 64 since. */
  bytes?: number
}

function init(kernel: Kernel, wanted = wishes) {
  const request = new Request(8192)
  // What stands behind the message must not be taken for a part of it.
  request.bytes.fill(0xff)
  const {
    major = 7,
    minor = MINOR_VERSION_MAX,
    readahead = 128 << 10,
    flags = EVERYTHING,
    flags2 = EVERYTHING,
  } = kernel
  const { bytes = minor >= 36 ? 64 : 16 } = kernel
  request.words.fill(0, 0, (40 + bytes) >> 2)
  request.words[0] = 40 + bytes
  request.words[1] = 26
  request.words.set([major, minor, readahead, flags], 10)
  if (bytes > 16) request.words[14] = flags2
  const reply = new Reply(4096)
  reply.payload.fill(0xee)
  const session: Session = {
    minor: 0,
    passthrough: false,
    directIoMmap: false,
    setxattrExt: false,
    maxReadBytes: 0,
  }
  const result = answerInit(request, reply, wanted, session)
  const view = new DataView(reply.payload.buffer, reply.payload.byteOffset, INIT_OUT_BYTES)
  const u32 = (at: number) => view.getUint32(at, true)
  const u16 = (at: number) => view.getUint16(at, true)
  return {
    result,
    session,
    major: u32(0),
    minor: u32(4),
    maxReadahead: u32(8),
    flags: u32(12),
    maxBackground: u16(16),
    congestion: u16(18),
    maxWrite: u32(20),
    timeGranularity: u32(24),
    maxPages: u16(28),
    flags2: u32(32),
    maxStackDepth: u32(36),
    rest: [...reply.payload.subarray(40, INIT_OUT_BYTES)],
  }
}

describe('versions', () => {
  for (let minor = MINOR_VERSION_MIN; minor <= MINOR_VERSION_MAX + 5; minor++)
    test(`7.${minor}`, () => {
      const answer = init({ minor })
      expect(answer.result).toBe(INIT_OUT_BYTES)
      const agreed = Math.min(minor, MINOR_VERSION_MAX)
      expect([answer.major, answer.minor, answer.session.minor]).toEqual([7, agreed, agreed])
      expect(answer.timeGranularity).toBe(1)
      expect(answer.rest.every((byte) => byte === 0)).toBe(true)
      // The upper flags came with 7.36: before, there is no word for them.
      expect(answer.session.passthrough).toBe(minor >= 36)
      expect(answer.flags2 !== 0).toBe(minor >= 36)
    })

  test('a kernel with a newer major version is told ours, and nothing is agreed yet', () => {
    const answer = init({ major: 8, minor: 3 })
    expect([answer.result, answer.major, answer.minor]).toEqual([INIT_OUT_BYTES, 7, MINOR_VERSION_MAX])
    expect(answer.session.minor).toBe(0)
    expect(answer.flags).toBe(0)
  })

  test('older ones are refused', () => {
    expect(init({ minor: MINOR_VERSION_MIN - 1 }).result).toBe(-ERRNO.EPROTO)
    expect(init({ major: 6, minor: 99 }).result).toBe(-ERRNO.EPROTO)
  })
})

describe('features', () => {
  test('only what was offered is asked for, bit by bit', () => {
    const { flags: wanted, flags2: wanted2 } = init({})
    for (let bit = 0; bit < 32; bit++) {
      const flag = (1 << bit) >>> 0
      const without = init({ flags: (EVERYTHING & ~flag) >>> 0 })
      expect((without.flags & flag) >>> 0, `bit ${bit}`).toBe(0)
      if (flag !== INIT.INIT_EXT) expect(without.flags, `bit ${bit}`).toBe((wanted & ~flag) >>> 0)
      const without2 = init({ flags2: (EVERYTHING & ~flag) >>> 0 })
      expect(without2.flags2, `bit ${bit + 32}`).toBe((wanted2 & ~flag) >>> 0)
    }
  })

  test('without INIT_EXT the upper flags mean nothing', () => {
    const answer = init({ flags: (EVERYTHING & ~INIT.INIT_EXT) >>> 0 })
    expect([answer.flags2, answer.maxStackDepth, answer.session.passthrough]).toEqual([0, 0, false])
  })

  test('the longer header of SETXATTR holds where both sides said so', () => {
    const writable = { ...wishes, writable: true }
    expect(init({}, writable).session.setxattrExt).toBe(true)
    expect(init({}).session.setxattrExt).toBe(false)
    // As Linux 5.4 has it.
    expect(init({ minor: 31, flags: 0x03ff_ffff }, writable).session.setxattrExt).toBe(false)
  })

  test('nothing is asked for that this server does not do', () => {
    const { flags, flags2 } = init({})
    // Locks kept by the server, writeback, export by handle, splice and kill-priv flags: of the writing side, or not offered at all.
    expect(flags & INIT.EXPORT_SUPPORT).toBe(0)
    expect(flags & ((1 << 1) | (1 << 3) | (1 << 10) | (1 << 16))).toBe(0)
    expect(flags2 & ~(INIT2.PASSTHROUGH | INIT2.DIRECT_IO_ALLOW_MMAP | INIT2.NO_EXPORT_SUPPORT)).toBe(0)
  })

  test('passthrough and its stack depth go together', () => {
    expect(init({})).toMatchObject({ maxStackDepth: 1, session: { passthrough: true } })
    expect(init({ flags2: INIT2.DIRECT_IO_ALLOW_MMAP })).toMatchObject({ maxStackDepth: 0, flags2: 16 })
    const unwanted = init({}, { ...wishes, passthrough: false })
    expect(unwanted).toMatchObject({ maxStackDepth: 0, session: { passthrough: false, directIoMmap: true } })
    expect(unwanted.flags2 & INIT2.PASSTHROUGH).toBe(0)
  })

  test('access control lists are the kernel’s only where that is wished', () => {
    expect(init({}).flags & INIT.POSIX_ACL).toBe(INIT.POSIX_ACL)
    expect(init({}, { ...wishes, posixAcl: false, writable: false }).flags & INIT.POSIX_ACL).toBe(0)
  })

  test('sizes: as wished, or 128 KiB where the kernel cannot be told more', () => {
    expect(init({})).toMatchObject({ maxPages: 256, maxWrite: 1 << 20, session: { maxReadBytes: 1 << 20 } })
    const old = init({ flags: INIT.ASYNC_READ })
    expect(old).toMatchObject({ maxPages: 32, maxWrite: 128 << 10, session: { maxReadBytes: 128 << 10 } })
    expect(init({ readahead: 4096 }).maxReadahead).toBe(4096)
    expect(init({ readahead: 0xffff_f000 }).maxReadahead).toBe(1 << 20)
    expect(init({})).toMatchObject({ maxBackground: 1024, congestion: 48 })
  })
})
