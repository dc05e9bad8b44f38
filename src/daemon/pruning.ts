/**
 * Room for the inodes that the kernel knows: their table has a limit, and the kernel gives inodes back where memory is short, which need not be so by then. So before the table is
 * full the kernel is asked to forget some that nobody has open; those that somebody uses in another way it keeps.
 */
import { type InodeTable, nodeidOf, SLOT } from './inode-table.ts'

/** The last slots are for look-ups: what is made needs one after it has been made. */
export function isTableNearlyFull({ count, capacity }: InodeTable): boolean {
  return count >= capacity - (capacity >>> 10)
}

/** Context: the keeper's thread. */
export class Pruning {
  readonly #inodes: InodeTable
  readonly #prune: (nodeids: readonly number[]) => void
  /** The slot to go on from. */
  #from = 1

  /** `prune` asks the kernel. */
  constructor(inodes: InodeTable, prune: (nodeids: readonly number[]) => void) {
    this.#inodes = inodes
    this.#prune = prune
  }

  /** To be called every few seconds. */
  sweep(): void {
    const inodes = this.#inodes
    const part = inodes.capacity >>> 3
    if (inodes.count <= inodes.capacity - part) return
    const nodeids: number[] = []
    let slot = this.#from
    for (; slot < inodes.highWater && nodeids.length < part; slot++)
      if (inodes.isInUse(slot) && inodes.get(slot, SLOT.OPENS) === 0) nodeids.push(nodeidOf(slot))
    this.#from = slot < inodes.highWater ? slot : 1
    this.#prune(nodeids)
  }
}
