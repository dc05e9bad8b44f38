/**
 * What a change of a file's data through the daemon means for those who read it in pieces: the pages become the file's own
 * before the bytes change, so nobody who reads afterwards finds them in a home.
 */
import { type InodeTable, SLOT } from './inode-table.ts'
import type { RunMaps } from './run-maps.ts'
import type { ServingState } from './serving.ts'

interface Parts {
  readonly inodes: InodeTable
  readonly serving: ServingState
  readonly maps: RunMaps
}

/**
 * Makes a change of bytes [start, end) by `change`, which returns a negative errno where it failed. Also of files that nobody has open, and
 * while others are opening it.
 */
export function changeData(parts: Parts, slot: number, start: number, end: number, change: () => number): number {
  add(parts, slot, start, end)
  const result = change()
  // An open that was being decided has either seen the change, for it looks under the slot's lock, or has stored its map by now.
  if (result >= 0) add(parts, slot, start, end)
  return result
}

/** The same for a file that is open for writing, whose map cannot change meanwhile: no lock is taken. */
export function changeOpened(parts: Parts, slot: number, start: number, end: number): void {
  const map = parts.inodes.get(slot, SLOT.MAP)
  if (map !== 0) parts.maps.get(map).own?.add(start, end)
}

function add({ inodes, serving, maps }: Parts, slot: number, start: number, end: number): void {
  const lock = inodes.lockOf(slot)
  lock.lock()
  try {
    const map = inodes.get(slot, SLOT.MAP)
    if (map === 0) return
    maps.get(map).own?.add(start, end)
    if (inodes.get(slot, SLOT.OPENS) > 0) serving.markWritten(slot)
  } finally {
    lock.unlock()
  }
}
