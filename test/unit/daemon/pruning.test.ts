/** When the table of inodes is nearly full: who gets what is left, and what the kernel is asked to forget. */
import { expect, test } from 'vitest'
import { InodeKey, InodeTable, nodeidOf } from '../../../src/daemon/inode-table.ts'
import { isTableNearlyFull, Pruning } from '../../../src/daemon/pruning.ts'

function acquire(table: InodeTable, number: number): number {
  const key = new InodeKey()
  key.inoLow = number
  return table.acquire(key, -1, 0, 0)
}

test('the last slots are for look-ups', () => {
  const table = new InodeTable(InodeTable.allocate(2048))
  for (let number = 0; number < 2048; number++) {
    expect(isTableNearlyFull(table)).toBe(number >= 2046)
    expect(acquire(table, number)).toBe(number)
  }
  expect(acquire(table, 2048)).toBe(-1)
})

test('an eighth of all is asked for at a time, in turn; not the root, nor what is open', () => {
  const table = new InodeTable(InodeTable.allocate(32))
  const asked: number[][] = []
  const pruning = new Pruning(table, (nodeids) => asked.push([...nodeids]))
  for (let number = 0; number < 28; number++) acquire(table, number)
  pruning.sweep()
  expect(asked).toEqual([])
  acquire(table, 28)
  for (const slot of [2, 5]) table.countOpen(slot, 1)
  pruning.sweep()
  pruning.sweep()
  expect(asked.splice(0)).toEqual([[1, 3, 4, 6].map(nodeidOf), [7, 8, 9, 10].map(nodeidOf)])
  for (let i = 0; i < 5; i++) pruning.sweep()
  expect(asked.splice(0).at(-1)).toEqual([27, 28].map(nodeidOf))
  pruning.sweep()
  expect(asked).toEqual([[1, 3, 4, 6].map(nodeidOf)])
  for (const slot of [20, 21]) if (table.forget(slot, 1)) table.release(slot)
  pruning.sweep()
  expect(asked).toHaveLength(1)
})
