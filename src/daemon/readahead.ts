/**
 * Readahead for the pages that are a mapped file's own. The kernel's would not do: it would read their shared neighbours along,
 * into the file's own cache, where they are not wanted. So it is switched off for the file (POSIX_FADV_RANDOM), and what lies
 * ahead of a sequential reader is asked for here, own pieces only.
 *
 * A reader is sequential while each read begins where the last one ended; a file's start counts as such. The window is
 * filled again when half of it has been read. State is kept per inode: two sequential readers of one file disturb
 * each other's readahead, not their bytes.
 */

import { PAGE_BYTES } from '../cache/entry.ts'
import { PieceWalk } from '../cache/resolve.ts'
import { OWN, type RunMap } from '../cache/run-map.ts'
import { fadvise, POSIX_FADV_WILLNEED } from '../linux/file.ts'
import { type InodeTable, SLOT } from './inode-table.ts'

/** Bytes ahead of the reader. Of a file with 1% of its pages its own that is some 20 pages in flight, what a disk likes. */
const WINDOW_BYTES = 8 << 20

export class OwnReadahead {
  readonly #inodes: InodeTable
  readonly #walk = new PieceWalk()

  constructor(inodes: InodeTable) {
    this.#inodes = inodes
  }

  /** Tells of a read of [offset, offset + length) of the file in `slot`, open as `fd`. Does not wait for the disk. */
  reading(slot: number, runs: RunMap, fd: number, offset: number, length: number): void {
    const { words } = this.#inodes
    const at = this.#inodes.at(slot)
    const end = offset + length
    // Words hold pages: a byte offset may not fit.
    const isSequential = words[at + SLOT.NEXT_PAGE] === Math.floor(offset / PAGE_BYTES)
    words[at + SLOT.NEXT_PAGE] = Math.floor(end / PAGE_BYTES)
    if (!isSequential || offset === 0) words[at + SLOT.AHEAD_PAGE] = 0
    if (!isSequential) return
    const ahead = Math.max(words[at + SLOT.AHEAD_PAGE]! * PAGE_BYTES, end)
    if (ahead - end > WINDOW_BYTES / 2) return
    const target = end + WINDOW_BYTES
    words[at + SLOT.AHEAD_PAGE] = Math.floor(target / PAGE_BYTES)
    const walk = this.#walk
    walk.start(runs, ahead, target - ahead)
    while (walk.next()) if (walk.home === OWN) fadvise(fd, walk.offset, walk.length, POSIX_FADV_WILLNEED)
  }
}
