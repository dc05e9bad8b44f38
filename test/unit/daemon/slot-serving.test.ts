/** When a decision on how a file is served holds for the file as it is. */
import { expect, test } from 'vitest'
import { InodeKey, InodeTable } from '../../../src/daemon/inode-table.ts'
import { SERVED, ServingState } from '../../../src/daemon/slot-serving.ts'
import { Statx } from '../../../src/linux/statx.ts'

test.each([
  ['size, lower half', 10],
  ['size, upper half', 11],
  ['ctime, seconds', 24],
  ['ctime, nanoseconds', 26],
])('does not where the file has another %s', (_, word) => {
  const inodes = new InodeTable(InodeTable.allocate(1))
  const slot = inodes.acquire(new InodeKey(), -1, 0, 0)
  const serving = new ServingState(inodes)
  const stat = new Statx()
  // Above 2^31, which the table keeps as negative words.
  for (const at of [10, 11, 24, 26]) stat.words[at] = 0x9000_0000 + at
  serving.decide(slot, SERVED.MAPPED, stat, true, 0)
  expect(serving.matches(slot, stat)).toBe(true)
  stat.words[word]!++
  expect(serving.matches(slot, stat)).toBe(false)
})
