/**
 * Stores to a file through a mapping that the kernel passes through: nobody hears of them, and they change the file's times. The mapping may
 * outlive the open file that it was made of; then the file below is still open for writing, as the mapping is.
 *
 * The same goes for what the daemon writes: the kernel forgets attributes when it sends a write that nobody waits for (direct I/O, mapped pages), not when that is done,
 * and believes an answer that was given in between.
 */

import { close, O_NONBLOCK } from '../linux/file.ts'
import { isOpenForWriting } from '../linux/lease.ts'
import type { InodeFiles } from './inode-files.ts'
import { type InodeTable, SLOT } from './inode-table.ts'

/**
 * May the slot's file have been stored to since the caller stat'ed it? Where it finds that nobody can any more, this is the last time
 * that it says so. Not under the slot's lock; any worker.
 */
export function mayBeStoredTo(inodes: InodeTable, files: InodeFiles, slot: number): boolean {
  if (inodes.get(slot, SLOT.STORABLE) === 0) return false
  if (inodes.get(slot, SLOT.WRITERS) > 0) return true
  const lock = inodes.lockOf(slot)
  lock.lock()
  try {
    if (inodes.get(slot, SLOT.WRITERS) === 0 && !isWritableAnywhere(files, slot)) inodes.set(slot, SLOT.STORABLE, 0)
  } finally {
    lock.unlock()
  }
  return true
}

function isWritableAnywhere(files: InodeFiles, slot: number): boolean {
  const fd = files.open(slot, O_NONBLOCK)
  if (fd < 0) return true
  try {
    return isOpenForWriting(fd) !== false
  } finally {
    close(fd)
  }
}
