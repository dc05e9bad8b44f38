/**
 * Messages that the server sends unasked. One that drops pages may wait in the kernel for a request that reads them: never send it from a request's
 * handler. One that drops attributes only waits for nobody.
 */
import { write } from '../linux/fuse-device.ts'
import { NOTIFY, OUT_HEADER_BYTES } from './protocol.ts'

const message = new ArrayBuffer(64)
const words = new Uint32Array(message)
const bytes = new Uint8Array(message)

/**
 * Drops what the kernel caches of an inode: its attributes, and its pages from `offset` on for `length` bytes
 * (length 0: to the end; offset < 0: attributes only). Returns 0 or -errno (ENOENT: the kernel does not know it).
 */
export function invalidateInode(fuseFd: number, nodeid: number, offset: number, length: number): number {
  const total = OUT_HEADER_BYTES + 24
  words[0] = total
  words[1] = NOTIFY.INVAL_INODE
  words[2] = 0
  words[3] = 0
  set64(4, nodeid)
  set64(6, offset)
  set64(8, length)
  const result = write(fuseFd, bytes, total)
  return Math.min(result, 0)
}

function set64(at: number, value: number): void {
  words[at] = value
  words[at + 1] = Math.floor(value / 2 ** 32)
}
