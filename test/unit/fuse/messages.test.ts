/** Frames, byte by byte: as the kernel sends and expects them. */
import { expect, test } from 'vitest'
import { encodeDevice, Reply, Request } from '../../../src/fuse/messages.ts'
import { OPCODE_ROWS, OPCODES } from '../../../src/fuse/protocol.ts'
import { Statx } from '../../../src/linux/statx.ts'

/** Bytes from hexadecimal text with spaces in it. */
const bytes = (text: string) => Buffer.from(text.replace(/\s+/g, ''), 'hex')
const hex = (view: Uint8Array) => Buffer.from(view).toString('hex')

function received(text: string): Request {
  const request = new Request(256)
  request.bytes.fill(0xee)
  request.bytes.set(bytes(text))
  return request
}

test('a READ', () => {
  const request = received(`
    50000000 0f000000 0807060504030201 ffffffffffff1f00 e8030000 e9030000 39300000 00000000
    1100000000000000 0000000001000000 00001000 02000000 00000000deadbeef 00800000 00000000`)
  expect(request.length).toBe(80)
  expect(OPCODES[request.opcode]?.name).toBe('READ')
  expect([request.uniqueLow, request.uniqueHigh]).toEqual([0x05060708, 0x01020304])
  expect(request.nodeid).toBe(2 ** 53 - 1)
  expect([request.uid, request.gid, request.pid]).toEqual([1000, 1001, 12345])
  expect([request.u64(0), request.u64(8), request.u32(16), request.u32(20)]).toEqual([17, 2 ** 32, 1 << 20, 2])
})

test('a position in a directory is exact in all of its 63 bits', () => {
  const request = received(`
    50000000 1c000000 0200000000000000 0100000000000000 00000000 00000000 01000000 00000000
    0100000000000000 feffffffffffff7f 00100000 00000000 0000000000000000 00000000 00000000`)
  expect(request.i64(8)).toBe(2n ** 63n - 2n)
})

test('a 64-bit field is a number as long as that is exact', () => {
  const request = new Request(64)
  const long = (high: number, low: number) => {
    request.words.set([low, high], 10)
    return request.long(0)
  }
  expect(long(0, 7)).toBe(7)
  expect(long(2 ** 21 - 1, 0xffff_ffff)).toBe(2 ** 53 - 1)
  expect(long(2 ** 21, 1)).toBe(2n ** 53n + 1n)
  expect(long(0xffff_ffff, 0xffff_ffff)).toBe(-1n)
})

test('names: bytes up to the NUL, whatever they are, and none beyond the message', () => {
  const lookup = received(`
    2d000000 01000000 0200000000000000 0100000000000000 00000000 00000000 01000000 00000000
    ff20c3280a00 4100`)
  expect(lookup.bytes[0]).toBe(45)
  // The length says 45: five bytes of a name that lacks its NUL.
  expect(hex(lookup.name())).toBe('ff20c3280a')
  lookup.bytes[0] = 46
  expect(hex(lookup.name())).toBe('ff20c3280a00')
  const getxattr = received(`
    36000000 16000000 0200000000000000 0100000000000000 00000000 00000000 01000000 00000000
    00010000 00000000 757365722e00`)
  expect(Buffer.from(getxattr.name(8)).toString()).toBe('user.\0')
})

test('the head of an answer, and of an error', () => {
  const reply = new Reply(64)
  expect(reply.finish(0x05060708, 0x81020304, 0, 8)).toBe(24)
  expect(hex(reply.bytes.subarray(0, 16))).toBe('18000000000000000807060504030281')
  expect(reply.finish(1, 0, -38, 0)).toBe(16)
  expect(hex(reply.bytes.subarray(0, 16))).toBe('10000000daffffff0100000000000000')
  // The daemon's own EMFILE is no limit of the client's: ENFILE.
  reply.finish(1, 0, -24, 0)
  expect(hex(reply.bytes.subarray(0, 16))).toBe('10000000e9ffffff0100000000000000')
})

test('errors that the kernel would refuse, and so never answer with, are EIO', () => {
  const reply = new Reply(64)
  const told = (error: number): number => {
    reply.finish(1, 0, error, 0)
    return new Int32Array(reply.bytes.buffer)[1]!
  }
  expect([0, -1, -5, -511].map(told)).toEqual([0, -1, -5, -511])
  expect([-512, -524, -600, -(2 ** 31), -(2 ** 53), 1, 600].map(told)).toEqual([-5, -5, -5, -5, -5, -5, -5])
})

test('fields of a payload', () => {
  const reply = new Reply(64)
  reply.payload.fill(0xee)
  reply.setU32(0, 0xdeadbeef)
  reply.setU64(8, 1, 2)
  reply.setFloat64(16, 2 ** 40 + 3)
  reply.zero(24, 8)
  expect(hex(reply.payload.subarray(0, 36))).toBe(
    hex(bytes('efbeadde eeeeeeee 0100000002000000 0300000000010000 0000000000000000 eeeeeeee')),
  )
})

test('a struct fuse_attr, with the number that the mount shows', () => {
  const stat = new Statx()
  const at = (offset: number, text: string) => new Uint8Array(stat.words.buffer).set(bytes(text), offset)
  at(0, 'ff0f0000 00100000') // mask, blksize
  at(16, '03000000 e8030000 e9030000 b46d') // nlink, uid, gid, mode 066664
  at(32, '1111111111111111 0900000005000000 0a00000006000000') // ino, size, blocks
  at(64, '0100000000000000 02000000') // atime
  at(96, 'fdffffffffffffff 04000000') // ctime, before 1970
  at(112, '0500000006000000 07000000') // mtime, after 2106
  at(128, '08000000 01010000') // rdev 8:257
  const reply = new Reply(256)
  reply.payload.fill(0xee)
  reply.setAttr(40, stat, 0xaabbccdd, 0x11223344)
  expect(hex(reply.payload.subarray(40, 128))).toBe(
    hex(
      bytes(`
      ddccbbaa44332211 0900000005000000 0a00000006000000
      0100000000000000 0500000006000000 fdffffffffffffff
      02000000 07000000 04000000 b46d0000 03000000 e8030000 e9030000 01081000 00100000 00000000`),
    ),
  )
  expect(hex(reply.payload.subarray(36, 40)) + hex(reply.payload.subarray(128, 132))).toBe('eeeeeeeeeeeeeeee')
})

test('device numbers, as makedev() of 32 bits gives them', () => {
  expect(encodeDevice(1, 3)).toBe(0x103)
  expect(encodeDevice(8, 257)).toBe(0x100801)
  expect(encodeDevice(4095, 0xfffff)).toBe(0xffffffff)
})

test('every opcode has one row, found by its number', () => {
  expect(new Set(OPCODE_ROWS.map(({ code }) => code)).size).toBe(OPCODE_ROWS.length)
  for (const row of OPCODE_ROWS) expect(OPCODES[row.code]).toBe(row)
  expect(OPCODES[63]).toBe(undefined)
})
