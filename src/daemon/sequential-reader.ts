/**
 * Who reads a file in sequence, and what lies ahead of him that is to be asked for.
 *
 * A reader is sequential while each read begins where the last one ended; a file's start counts as such. The window ahead of him is filled again when half of it has
 * been read. State is kept per inode, in two words of its slot: two sequential readers of one file disturb each other's readahead, not their bytes.
 *
 * The words hold the lower 32 bits of page numbers, of which a file may have more. That is enough: the one is compared for equality, and the other lies within a window of the
 * read that it is compared with, or counts for nothing.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { type InodeTable, SLOT } from './inode-table.ts'

export class SequentialReader {
  /** The pages to be asked for, where {@link reading} has returned true: from `first` up to `end`, which may lie behind the end of the file. */
  first = 0
  end = 0
  readonly #inodes: InodeTable
  readonly #windowPages: number

  constructor(inodes: InodeTable, windowBytes: number) {
    this.#inodes = inodes
    this.#windowPages = windowBytes / PAGE_BYTES
  }

  /** Tells of a read of bytes [start, end) of the file in `slot`. Whether something is to be asked for now. */
  reading(slot: number, start: number, end: number): boolean {
    const { words } = this.#inodes
    const at = this.#inodes.at(slot)
    const endPage = Math.ceil(end / PAGE_BYTES)
    const isSequential = words[at + SLOT.NEXT_PAGE] === (Math.floor(start / PAGE_BYTES) | 0)
    words[at + SLOT.NEXT_PAGE] = Math.floor(end / PAGE_BYTES)
    if (!isSequential || start === 0) words[at + SLOT.AHEAD_PAGE] = endPage
    if (!isSequential) return false
    const left = (words[at + SLOT.AHEAD_PAGE]! - endPage) | 0
    const asked = left > 0 && left <= this.#windowPages ? left : 0
    if (asked > this.#windowPages / 2) return false
    this.first = endPage + asked
    this.end = endPage + this.#windowPages
    words[at + SLOT.AHEAD_PAGE] = this.end
    return true
  }
}
