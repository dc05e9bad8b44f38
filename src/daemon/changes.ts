/**
 * What a change of a file's data through the daemon means for those who read it in pieces: the pages become the file's own
 * before the bytes change, so nobody who reads afterwards finds them in a home.
 */
import { Statx } from '../linux/statx.ts'
import { type InodeTable, SLOT } from './inode-table.ts'
import type { RunMaps } from './run-maps.ts'
import type { ServingState } from './slot-serving.ts'

interface Parts {
  readonly inodes: InodeTable
  readonly serving: ServingState
  readonly maps: RunMaps
}

const stat = new Statx()

/**
 * Makes a change of bytes [start, end) of the slot's file, which `fd` is open on, by `change`, which returns a negative errno where it
 * failed. Also of files that nobody has open, and while others are opening it.
 */
export function changeData(
  parts: Parts,
  slot: number,
  fd: number,
  start: number,
  end: number,
  change: () => number,
): number {
  const began = begin(parts, slot, fd, start, end)
  try {
    return change()
  } finally {
    // An open that was being decided has either seen the change, for it looks under the slot's lock, or has stored its map by now.
    finish(parts, slot, fd, start, end, began)
  }
}

/** The run map in which the change has been noted; 0: the file is not mapped. */
function begin({ inodes, serving, maps }: Parts, slot: number, fd: number, start: number, end: number): number {
  if (inodes.get(slot, SLOT.MAP) === 0) return 0
  const lock = inodes.lockOf(slot)
  lock.lock()
  try {
    const map = inodes.get(slot, SLOT.MAP)
    if (map === 0) return 0
    if (stat.ofFd(fd) === 0) serving.beginChange(slot, stat)
    // What is appended lies behind all that has a bit.
    maps.get(map).own?.add(start, end)
    // Also where nobody has it open: what was decided on is not what the file is from now on.
    serving.markWritten(slot)
    return map
  } finally {
    lock.unlock()
  }
}

function finish(
  { inodes, serving, maps }: Parts,
  slot: number,
  fd: number,
  start: number,
  end: number,
  began: number,
): void {
  // While somebody has it open nothing is decided. Else an open may be just about to store what it saw before the change: under the lock.
  if (began === 0 && inodes.get(slot, SLOT.OPENS) > 0 && inodes.get(slot, SLOT.MAP) === 0) return
  const lock = inodes.lockOf(slot)
  lock.lock()
  try {
    const map = inodes.get(slot, SLOT.MAP)
    if (map === 0) return
    // An open that was decided meanwhile may have made another map, of the file as it was before, in which nothing has begun.
    if (began !== map) maps.get(map).own?.add(start, end)
    serving.markWritten(slot)
    if (began === map && stat.ofFd(fd) === 0) serving.endChange(slot, stat)
  } finally {
    lock.unlock()
  }
}

/**
 * The file was changed by somebody else, who knows where: none of its pages is read from a home any more until the last close. Its map has a bitmap
 * where such changes are watched for.
 */
export function becomeOwn({ inodes, serving, maps }: Parts, slot: number): void {
  inodes.lockOf(slot).locked(() => {
    const map = inodes.get(slot, SLOT.MAP)
    if (map === 0) return
    maps.get(map).own?.addAll()
    if (inodes.get(slot, SLOT.OPENS) > 0) serving.markWritten(slot)
  })
}
