/** Files that are kept for the next open: what is kept is bounded, and all of it is given back. */
import fs from 'node:fs'
import os from 'node:os'
import { describe, expect, test } from 'vitest'
import { InodeKey, InodeTable, SLOT } from '../../../src/daemon/inode-table.ts'
import { WarmFiles } from '../../../src/daemon/warm-files.ts'

const BACKING = 7
/** There is no connection: backing ids are given back in vain. */
const NO_FUSE = -1

function tables(files: number, descriptorsLimit = 1 << 16) {
  const inodes = new InodeTable(InodeTable.allocate(files))
  const key = new InodeKey()
  for (let i = 0; i < files; i++) {
    key.inoLow = i + 1
    inodes.acquire(key, -1, 0, 0)
  }
  return { inodes, warm: new WarmFiles(WarmFiles.allocate(descriptorsLimit), inodes, NO_FUSE) }
}

/** Makes the slot warm, as the first open of its file does, and closes the file: its descriptor, or -1 where it stays cold. */
function warmUp({ inodes, warm }: ReturnType<typeof tables>, slot: number): number {
  const fd = fs.openSync(os.devNull, 'r')
  inodes.set(slot, SLOT.BACKING, BACKING)
  if (warm.keep(slot, fd)) return fd
  fs.closeSync(fd)
  inodes.set(slot, SLOT.BACKING, 0)
  return -1
}

const isOpen = (fd: number) => fs.existsSync(`/proc/self/fd/${fd}`)

describe('a warm file', () => {
  test('is cooled at the second sweep after it was opened last, descriptor and backing id with it', async () => {
    const both = tables(3)
    const [once, often] = [warmUp(both, 1), warmUp(both, 2)]
    expect(both.warm.descriptor(1)).toBe(once)
    await both.warm.sweep()
    expect([isOpen(once), isOpen(often)]).toEqual([true, true])
    both.warm.touch(2)
    await both.warm.sweep()
    expect([isOpen(once), isOpen(often)]).toEqual([false, true])
    expect([both.warm.descriptor(1), both.inodes.get(1, SLOT.BACKING)]).toEqual([-1, 0])
    expect([both.warm.descriptor(2), both.inodes.get(2, SLOT.BACKING)]).toEqual([often, BACKING])
    await both.warm.coolAll()
    expect(isOpen(often)).toBe(false)
  })

  test('keeps the backing id while it is open', () => {
    const both = tables(2)
    const fd = warmUp(both, 1)
    both.inodes.countOpen(1, 1)
    both.warm.cool(1)
    expect([isOpen(fd), both.warm.descriptor(1), both.inodes.get(1, SLOT.BACKING)]).toEqual([false, -1, BACKING])
  })

  test('can be dropped before it is opened as what may not be passed through', () => {
    const both = tables(2)
    const fd = warmUp(both, 1)
    both.warm.drop(1)
    expect([isOpen(fd), both.warm.descriptor(1), both.inodes.get(1, SLOT.BACKING)]).toEqual([false, -1, 0])
    both.warm.drop(1)
  })

  test('is not waited for by a sweep while somebody looks at it', async () => {
    const both = tables(2)
    const fd = warmUp(both, 1)
    const lock = both.inodes.lockOf(1)
    lock.lock()
    await both.warm.coolAll()
    expect(isOpen(fd)).toBe(true)
    lock.unlock()
    await both.warm.coolAll()
    expect(isOpen(fd)).toBe(false)
  })

  test('can be made so again, and others in its place when it is cold', () => {
    const both = tables(40, 160)
    const first = warmUp(both, 5)
    expect(warmUp(both, 15)).toBe(-1)
    both.warm.cool(5)
    expect(isOpen(first)).toBe(false)
    expect(warmUp(both, 15)).toBeGreaterThanOrEqual(0)
    both.warm.cool(15)
    expect(warmUp(both, 5)).toBeGreaterThanOrEqual(0)
    both.warm.cool(5)
  })

  test.each([
    [160, 5],
    [1 << 20, 1021],
  ])('is one of few: of %d descriptors they take %d', async (limit, most) => {
    const both = tables(2100, limit)
    // Every other slot, as where each file lies in a directory of its own.
    const taken = Array.from({ length: 1040 }, (_, i) => warmUp(both, 2 * i + 1)).filter((fd) => fd >= 0)
    const { length } = taken
    await both.warm.coolAll()
    expect(length).toBe(most)
    expect(taken.filter(isOpen)).toEqual([])
  })
})
