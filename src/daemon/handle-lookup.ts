/** From a file handle, as the kernel names inodes in its events, to the slot of the inode table. */
import { HANDLE_ROOM, handleInode, handleSubvolume, nameToHandle } from '../linux/handle.ts'
import { cString } from '../linux/native.ts'
import type { FilesystemTable } from './filesystem-table.ts'
import type { Source } from './inode-files.ts'
import { HANDLE_BYTES_MAX, InodeKey, type InodeTable } from './inode-table.ts'

export class HandleLookup {
  readonly #inodes: InodeTable
  readonly #filesystems: FilesystemTable
  /** The btrfs subvolume that the source directory is in, else 0. */
  readonly #ownSubvolume: number
  readonly #key = new InodeKey()

  constructor(inodes: InodeTable, filesystems: FilesystemTable, source: Source) {
    this.#inodes = inodes
    this.#filesystems = filesystems
    const handle = new Uint8Array(HANDLE_ROOM)
    this.#ownSubvolume = nameToHandle(source.rootFd, cString(''), handle) > 0 ? handleSubvolume(handle) : 0
  }

  /** The slot of the inode that `handle` names, or -1 where the kernel does not know that inode through this mount. */
  slotOf(handle: Uint8Array): number {
    const ino = handleInode(handle)
    if (ino < 0 || handle.length > HANDLE_BYTES_MAX) return -1
    const subvolume = handleSubvolume(handle)
    const fs = subvolume === this.#ownSubvolume ? this.#filesystems.source : this.#filesystems.findSubvolume(subvolume)
    if (fs < 0) return -1
    const key = this.#key
    key.fs = fs
    key.inoLow = ino % 2 ** 32
    key.inoHigh = Math.floor(ino / 2 ** 32)
    key.handleSize = handle.length
    key.handle.set(handle)
    const slot = this.#inodes.find(key)
    if (slot >= 0) return slot
    // What is kept by a descriptor (the root, FIFOs, devices) has no handle in the table; its number is nobody else's as long as it is kept.
    key.handleSize = 0
    return this.#inodes.find(key)
  }
}
