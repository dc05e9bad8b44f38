/**
 * What a change below the mount means for those who use it: the kernel is told to drop what it believes of the names and inodes concerned,
 * and a file that is open and read in pieces is read from itself from then on.
 *
 * Only for what the kernel knows through this mount; everything else is thrown away after one look-up. A decision that nobody has in use
 * needs nothing: the next open compares the file's time of change.
 */
import { expireAllNames, expireName, invalidateInode } from '../fuse/notify.ts'
import { FAN, type FileEvent } from '../linux/fanotify.ts'
import type { Statx } from '../linux/statx.ts'
import { becomeOwn } from './changes.ts'
import type { HandleLookup } from './handle-lookup.ts'
import type { InodeFiles } from './inode-files.ts'
import { type InodeTable, nodeidOf, SLOT, SLOT_FLAG } from './inode-table.ts'
import type { RunMaps } from './run-maps.ts'
import { SERVED, type ServingState } from './slot-serving.ts'
import type { WatchStats } from './watch-stats.ts'

const NAMES = FAN.CREATE | FAN.DELETE | FAN.MOVED_FROM | FAN.MOVED_TO
const CONTENT = FAN.MODIFY | FAN.CLOSE_WRITE
const DOT = 0x2e

interface NoticingParts {
  readonly fuseFd: number
  readonly inodes: InodeTable
  readonly files: InodeFiles
  readonly serving: ServingState
  readonly maps: RunMaps
  readonly handles: HandleLookup
  readonly stats: WatchStats
  readonly stat: Statx
}

export class Noticing {
  readonly #parts: NoticingParts

  constructor(parts: NoticingParts) {
    this.#parts = parts
  }

  /** Passes on what happened. Any number of times, in any order: it only makes others look again. */
  notice({ mask, inode, directory, name }: FileEvent): void {
    const { handles, fuseFd, stats } = this.#parts
    if (directory !== undefined && name !== undefined && mask & NAMES) {
      const slot = handles.slotOf(directory)
      if (slot < 0) return
      // The directory itself first: the kernel stops where it does not know the name.
      this.#inodeChanged(slot, false)
      if (expireName(fuseFd, nodeidOf(slot), name) === 0) stats.notices++
      return
    }
    const changed = inode ?? (name?.length === 1 && name[0] === DOT ? directory : undefined)
    const slot = changed === undefined ? -1 : handles.slotOf(changed)
    if (slot >= 0) this.#inodeChanged(slot, (mask & CONTENT) !== 0)
  }

  /** Anything may have happened: the kernel is to believe nothing that it was told. */
  noticeAll(): void {
    const { inodes, fuseFd } = this.#parts
    expireAllNames(fuseFd)
    const end = inodes.highWater
    for (let slot = 0; slot < end; slot++) if (inodes.isInUse(slot)) this.#inodeChanged(slot, true)
  }

  /** By now the slot may be another inode's: then that one is looked at again for nothing. */
  #inodeChanged(slot: number, content: boolean): void {
    const { inodes, fuseFd, stats } = this.#parts
    if (content) this.#readFromItself(slot)
    // The mark of a kernel copy is set before its pages are read: where it is missing, they are read as they are now.
    const isCopied = content && Atomics.load(inodes.words, inodes.at(slot) + SLOT.COPIED) > 0
    // Pages of a directory are a list of it: who opens it does not believe that anyway, but who rewinds it would.
    const isDirectory = (inodes.get(slot, SLOT.FLAGS) & SLOT_FLAG.DIRECTORY) !== 0
    if (invalidateInode(fuseFd, nodeidOf(slot), isCopied || isDirectory ? 0 : -1, 0) === 0) stats.notices++
  }

  /**
   * A file that is open and read in pieces has changed: none of its pages is read from a home any more until the last close, and who opens
   * it meanwhile joins. Events of closing come also where nothing was written: the time of change tells, unless the file is changed through the
   * mount as well, whose changes move it too.
   */
  #readFromItself(slot: number): void {
    const { inodes, serving, files, stat } = this.#parts
    if (serving.kind(slot) !== SERVED.MAPPED || inodes.get(slot, SLOT.OPENS) === 0) return
    if (!serving.isWritten(slot) && files.stat(slot, stat) === 0 && serving.matches(slot, stat)) return
    becomeOwn(this.#parts, slot)
  }
}
