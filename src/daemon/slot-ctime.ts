/** A ctime in the record of a slot: two words, of which only the lower half of the seconds is kept, which is enough to tell whether it has moved. */
import type { Statx } from '../linux/statx.ts'
import type { InodeTable, SLOT } from './inode-table.ts'

/** The nanoseconds stand behind the seconds. */
type CtimeField = typeof SLOT.CTIME_SEC | typeof SLOT.ATTR_SEC
type Ctime = Pick<Statx, 'ctimeSecLow' | 'ctimeNsec'>

/** Whether the ctime at `field` of the slot is that of `stat`. */
export function ctimeIs(inodes: InodeTable, slot: number, field: CtimeField, stat: Ctime): boolean {
  const { words } = inodes
  const at = inodes.at(slot) + field
  return words[at + 1]! >>> 0 === stat.ctimeNsec && words[at]! >>> 0 === stat.ctimeSecLow
}

export function setCtime(inodes: InodeTable, slot: number, field: CtimeField, stat: Ctime): void {
  const { words } = inodes
  const at = inodes.at(slot) + field
  words[at] = stat.ctimeSecLow
  words[at + 1] = stat.ctimeNsec
}
