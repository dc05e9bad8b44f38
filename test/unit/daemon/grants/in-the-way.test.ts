import { expect, test } from 'vitest'
import { whatIsInTheWay } from '../../../../src/daemon/grants/in-the-way.ts'
import type { ShownFile } from '../../../../src/daemon/grants/shown-file.ts'
import type { Context } from '../../../../src/daemon/handlers/context.ts'
import { InodeKey, InodeTable, SLOT } from '../../../../src/daemon/inode-table.ts'

test('whether a file is read from the arena is asked under its lock: the last close has its map forgotten', async () => {
  const inodes = new InodeTable(InodeTable.allocate(8))
  const slot = inodes.acquire(new InodeKey(), -1, 0, 0)
  inodes.set(slot, SLOT.OPENS, 1)
  let asked = 0
  const opening = {
    isInArena(of: number): boolean {
      asked++
      expect(inodes.lockOf(of).tryLock()).toBe(false)
      return false
    },
    isCachedByKernel: () => false,
  }
  const context = { inodes, opening, warm: { cool() {} }, serving: { kind: () => 0 }, options: { passthrough: false } }
  expect(await whatIsInTheWay(context as unknown as Context, '0:1', { slot } as ShownFile)).toBeUndefined()
  expect(asked).toBe(1)
  expect(inodes.lockOf(slot).tryLock()).toBe(true)
})
