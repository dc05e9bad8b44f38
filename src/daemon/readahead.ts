/**
 * Readahead for the pages that are a mapped file's own. The kernel's would not do: it would read their shared neighbours along,
 * into the file's own cache, where they are not wanted. So it is switched off for the file (POSIX_FADV_RANDOM), and what lies
 * ahead of a sequential reader is asked for here, own pieces only.
 */

import { PAGE_BYTES } from '../cache/entry.ts'
import { PieceWalk } from '../cache/resolve.ts'
import { OWN, type RunMap } from '../cache/run-map.ts'
import { fadvise, POSIX_FADV_WILLNEED } from '../linux/file.ts'
import type { InodeTable } from './inode-table.ts'
import { SequentialReader } from './sequential-reader.ts'

/** Bytes ahead of the reader. Of a file with 1% of its pages its own that is some 20 pages in flight, what a disk likes. */
const WINDOW_BYTES = 8 << 20

export class OwnReadahead {
  readonly #reader: SequentialReader
  readonly #walk = new PieceWalk()

  constructor(inodes: InodeTable) {
    this.#reader = new SequentialReader(inodes, WINDOW_BYTES)
  }

  /** Tells of a read of [offset, offset + length) of the file in `slot`, open as `fd`. Does not wait for the disk. */
  reading(slot: number, runs: RunMap, fd: number, offset: number, length: number): void {
    const ahead = this.#reader
    if (!ahead.reading(slot, offset, offset + length)) return
    const walk = this.#walk
    walk.start(runs, ahead.first * PAGE_BYTES, (ahead.end - ahead.first) * PAGE_BYTES)
    while (walk.next()) if (walk.home === OWN) fadvise(fd, walk.offset, walk.length, POSIX_FADV_WILLNEED)
  }
}
