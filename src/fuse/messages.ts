/**
 * A request and its reply as views over two reused buffers. Nothing is allocated per request: fields are read
 * from, and written to, 32-bit words in place.
 */
import { ERRNO } from '../linux/errors.ts'
import type { Statx } from '../linux/statx.ts'
import { IN_HEADER_BYTES, OUT_HEADER_BYTES } from './protocol.ts'

const TWO_32 = 2 ** 32
const BODY_WORD = IN_HEADER_BYTES >> 2

/** By what the kernel's request is known while it waits, and its INTERRUPT names it: the two halves of its unique. */
export const requestNumber = (uniqueLow: number, uniqueHigh: number): string => `${uniqueHigh}:${uniqueLow}`

/** The request that stands in the receive buffer. Body fields are addressed by byte offset after the header. */
export class Request {
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  readonly #longs: BigInt64Array

  /** `memory`: to receive into, or how many bytes of it. */
  constructor(memory: number | SharedArrayBuffer) {
    this.bytes = new Uint8Array(typeof memory === 'number' ? new ArrayBuffer(memory) : memory)
    this.words = new Uint32Array(this.bytes.buffer)
    this.#longs = new BigInt64Array(this.bytes.buffer)
  }

  /** Bytes of the whole message, header included. */
  get length(): number {
    return this.words[0]!
  }
  get opcode(): number {
    return this.words[1]!
  }
  get uniqueLow(): number {
    return this.words[2]!
  }
  get uniqueHigh(): number {
    return this.words[3]!
  }
  get nodeid(): number {
    return this.words[5]! * TWO_32 + this.words[4]!
  }
  get uid(): number {
    return this.words[6]!
  }
  get gid(): number {
    return this.words[7]!
  }
  get pid(): number {
    return this.words[8]!
  }

  u32(offset: number): number {
    return this.words[BODY_WORD + (offset >> 2)]!
  }

  /** A 64-bit field as a float; exact below 2^53. */
  u64(offset: number): number {
    const at = BODY_WORD + (offset >> 2)
    return this.words[at + 1]! * TWO_32 + this.words[at]!
  }

  /** A signed 64-bit field, exact: a position in a directory is a hash of 63 bits on some file systems. Allocates. */
  i64(offset: number): bigint {
    return this.#longs[(IN_HEADER_BYTES + offset) >> 3]!
  }

  /** A signed 64-bit field as a number, or, where that would not be exact, as a bigint. */
  long(offset: number): number | bigint {
    const high = this.words[BODY_WORD + (offset >> 2) + 1]!
    return high < 1 << 21 ? high * TWO_32 + this.words[BODY_WORD + (offset >> 2)]! : this.i64(offset)
  }

  /** A NUL-terminated name that starts at `offset` of the body: a view for a system call, its NUL included. */
  name(offset = 0): Uint8Array {
    const start = IN_HEADER_BYTES + offset
    const end = this.bytes.indexOf(0, start)
    return this.bytes.subarray(start, end < 0 || end >= this.length ? this.length : end + 1)
  }

  /** `length` bytes of the body from `offset` on, as far as there are so many: a view. */
  data(offset: number, length: number): Uint8Array {
    const start = IN_HEADER_BYTES + offset
    return this.bytes.subarray(start, Math.min(start + length, this.length))
  }
}

/** Where a handler writes its answer; offsets count from the start of the payload, behind the header. */
export class Reply {
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  /** The payload area, for system calls that fill it. */
  readonly payload: Uint8Array
  readonly capacity: number

  constructor(size: number) {
    this.bytes = new Uint8Array(new ArrayBuffer(size))
    this.words = new Uint32Array(this.bytes.buffer)
    this.payload = this.bytes.subarray(OUT_HEADER_BYTES)
    this.capacity = size - OUT_HEADER_BYTES
  }

  setU32(offset: number, value: number): void {
    this.words[(OUT_HEADER_BYTES + offset) >> 2] = value
  }

  setU64(offset: number, low: number, high: number): void {
    const at = (OUT_HEADER_BYTES + offset) >> 2
    this.words[at] = low
    this.words[at + 1] = high
  }

  setFloat64(offset: number, value: number): void {
    this.setU64(offset, value, Math.floor(value / TWO_32))
  }

  /** A 64-bit field, exact: what {@link Request.long} gives. */
  setLong(offset: number, value: number | bigint): void {
    if (typeof value === 'number') this.setFloat64(offset, value)
    else this.setU64(offset, Number(BigInt.asUintN(32, value)), Number(value >> 32n))
  }

  zero(offset: number, length: number): void {
    this.words.fill(0, (OUT_HEADER_BYTES + offset) >> 2, (OUT_HEADER_BYTES + offset + length) >> 2)
  }

  /** Writes a struct fuse_attr of what `stat` holds, with the inode number that the mount shows. */
  setAttr(offset: number, stat: Statx, inoLow: number, inoHigh: number): void {
    const at = (OUT_HEADER_BYTES + offset) >> 2
    const out = this.words
    const from = stat.words
    out[at] = inoLow
    out[at + 1] = inoHigh
    out[at + 2] = from[10]! // size
    out[at + 3] = from[11]!
    out[at + 4] = from[12]! // blocks
    out[at + 5] = from[13]!
    out[at + 6] = from[16]! // atime
    out[at + 7] = from[17]!
    out[at + 8] = from[28]! // mtime
    out[at + 9] = from[29]!
    out[at + 10] = from[24]! // ctime
    out[at + 11] = from[25]!
    out[at + 12] = from[18]!
    out[at + 13] = from[30]!
    out[at + 14] = from[26]!
    out[at + 15] = stat.mode
    out[at + 16] = stat.nlink
    out[at + 17] = stat.uid
    out[at + 18] = stat.gid
    out[at + 19] = encodeDevice(stat.rdevMajor, stat.rdevMinor)
    out[at + 20] = stat.blksize
    out[at + 21] = 0
  }

  /**
   * The header of an answer with `length` payload bytes and `error` (0 or -errno); returns the message's bytes. The client is told what {@link errorTold} says.
   */
  finish(uniqueLow: number, uniqueHigh: number, error: number, length: number): number {
    const total = OUT_HEADER_BYTES + length
    this.words[0] = total
    this.words[1] = errorTold(error)
    this.words[2] = uniqueLow
    this.words[3] = uniqueHigh
    return total
  }
}

/** The least that the kernel takes as the error of an answer. */
const ERROR_MIN = -511

/**
 * What a client is told of `error` (0 or -errno). Where the daemon has no descriptor left (EMFILE) that is ENFILE: EMFILE would say that he has too many files open
 * himself. What is no error to the kernel (file systems let its own codes, from 512 on, escape) is EIO: it would refuse the answer, and let the client wait for another one for ever.
 */
function errorTold(error: number): number {
  if (error === -ERRNO.EMFILE) return -ERRNO.ENFILE
  return error >= ERROR_MIN && error <= 0 ? error : -ERRNO.EIO
}

/** A device number as the kernel encodes it in 32 bits (new_encode_dev). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}
