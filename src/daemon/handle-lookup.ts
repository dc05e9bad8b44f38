/** From a file handle, as the kernel names inodes in its events, to the slot of the inode table. */
import { HANDLE_ROOM, handleInode, handleSubvolume, nameToHandle } from '../linux/handle.ts'
import { cString } from '../linux/native.ts'
import type { FilesystemTable } from './filesystem-table.ts'
import type { Source } from './inode-files.ts'
import { HANDLE_BYTES_MAX, InodeKey, type InodeTable } from './inode-table.ts'

const ROOT_SLOT = 0

export class HandleLookup {
  readonly #inodes: InodeTable
  readonly #filesystems: FilesystemTable
  /** Of the source directory, whose slot is kept without one. */
  readonly #root: Uint8Array
  readonly #key = new InodeKey()

  constructor(inodes: InodeTable, filesystems: FilesystemTable, source: Source) {
    this.#inodes = inodes
    this.#filesystems = filesystems
    const handle = new Uint8Array(HANDLE_ROOM)
    this.#root = handle.subarray(0, Math.max(0, nameToHandle(source.rootFd, cString(''), handle)))
  }

  /** The slot of the inode that `handle` names, or -1 where the kernel does not know that inode through this mount. */
  slotOf(handle: Uint8Array): number {
    if (isEqual(handle, this.#root)) return ROOT_SLOT
    const ino = handleInode(handle)
    if (ino < 0 || handle.length > HANDLE_BYTES_MAX) return -1
    const subvolume = handleSubvolume(handle)
    const fs = subvolume === handleSubvolume(this.#root) ? 0 : this.#filesystems.findSubvolume(subvolume)
    if (fs < 0) return -1
    const key = this.#key
    key.fs = fs
    key.inoLow = ino % 2 ** 32
    key.inoHigh = Math.floor(ino / 2 ** 32)
    key.handleSize = handle.length
    key.handle.set(handle)
    return this.#inodes.find(key)
  }
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
