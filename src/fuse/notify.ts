/**
 * Messages that the server sends unasked. One that drops pages may wait in the kernel for a request that reads them, and one that lets a name expire
 * for a request that uses its directory: never send these from a request's handler. One that drops attributes only waits for nobody.
 */
import { write, writeAsync } from '../linux/fuse-device.ts'
import { EXPIRE_ONLY, NOTIFY, OUT_HEADER_BYTES } from './protocol.ts'

/** Room for the longest name that Linux knows. */
const message = new ArrayBuffer(512)
const words = new Uint32Array(message)
const bytes = new Uint8Array(message)

/**
 * Drops what the kernel caches of an inode: its attributes, and its pages from `offset` on for `length` bytes
 * (length 0: to the end; offset < 0: attributes only). Returns 0 or -errno (ENOENT: the kernel does not know it).
 */
export function invalidateInode(fuseFd: number, nodeid: number, offset: number, length: number): number {
  set64(4, nodeid)
  set64(6, offset)
  set64(8, length)
  return send(fuseFd, NOTIFY.INVAL_INODE, 24)
}

/** As {@link invalidateInode}, on the libuv pool: resolves when the pages are gone. */
export function invalidateInodeAsync(fuseFd: number, nodeid: number, offset: number, length: number): Promise<number> {
  const own = new Uint32Array(10)
  own.set([40, NOTIFY.INVAL_INODE])
  for (const [at, value] of [
    [4, nodeid],
    [6, offset],
    [8, length],
  ] as const)
    own.set([value, Math.floor(value / 2 ** 32)], at)
  return writeAsync(fuseFd, own, own.byteLength)
}

/**
 * The kernel is to look `name` (without a NUL) in directory `parent` up again before it believes it, and the directory's attributes too. Returns 0 or
 * -errno (ENOENT: it does not know the name). Before Linux 6.2 it also forgets what lies below that name.
 */
export function expireName(fuseFd: number, parent: number, name: Uint8Array): number {
  set64(4, parent)
  words[6] = name.length
  words[7] = EXPIRE_ONLY
  const nameAt = OUT_HEADER_BYTES + 16
  bytes.set(name, nameAt)
  bytes[nameAt + name.length] = 0
  return send(fuseFd, NOTIFY.INVAL_ENTRY, 16 + name.length + 1)
}

/** The kernel is to look all names up again before it believes them. Returns 0 or -errno (EINVAL before Linux 6.16). */
export function expireAllNames(fuseFd: number): number {
  return send(fuseFd, NOTIFY.INC_EPOCH, 0)
}

/** The kernel is to forget those of the inodes that nobody uses, and their names. Returns 0 or -errno (EINVAL before Linux 6.18). May write back what is dirty. */
export function pruneInodes(fuseFd: number, nodeids: readonly number[]): number {
  const own = new Uint32Array(8 + nodeids.length * 2)
  own.set([own.byteLength, NOTIFY.PRUNE, 0, 0, nodeids.length])
  for (const [i, nodeid] of nodeids.entries()) own.set([nodeid, Math.floor(nodeid / 2 ** 32)], 8 + i * 2)
  return Math.min(write(fuseFd, new Uint8Array(own.buffer), own.byteLength), 0)
}

/** The header's error says what a message is where its `unique` is 0. */
function send(fuseFd: number, code: number, bodyBytes: number): number {
  const total = OUT_HEADER_BYTES + bodyBytes
  words[0] = total
  words[1] = code
  words[2] = 0
  words[3] = 0
  return Math.min(write(fuseFd, bytes, total), 0)
}

function set64(at: number, value: number): void {
  words[at] = value
  words[at + 1] = Math.floor(value / 2 ** 32)
}
