/**
 * Which slot holds the decision about a file that families know by its key. Workers free slots without telling, so entries whose
 * slot has gone to another inode are thrown out when their number may have doubled.
 */
import { type InodeTable, SLOT } from './inode-table.ts'

const PRUNE_MIN = 1024

interface Decided {
  readonly slot: number
  readonly generation: number
}

export class DecidedFiles {
  readonly #inodes: InodeTable
  readonly #byKey = new Map<string, Decided>()
  #pruneAt = PRUNE_MIN

  constructor(inodes: InodeTable) {
    this.#inodes = inodes
  }

  add(key: string, slot: number): void {
    this.#byKey.set(key, { slot, generation: this.#inodes.get(slot, SLOT.GENERATION) })
    if (this.#byKey.size >= this.#pruneAt) this.#prune()
  }

  /** The slot of the file, if it still is the file's; the entry is removed. */
  take(key: string): number | undefined {
    const decided = this.#byKey.get(key)
    this.#byKey.delete(key)
    return decided !== undefined && this.#isCurrent(decided) ? decided.slot : undefined
  }

  #prune(): void {
    for (const [key, decided] of this.#byKey) if (!this.#isCurrent(decided)) this.#byKey.delete(key)
    this.#pruneAt = Math.max(PRUNE_MIN, this.#byKey.size * 2)
  }

  #isCurrent({ slot, generation }: Decided): boolean {
    return this.#inodes.isInUse(slot) && this.#inodes.get(slot, SLOT.GENERATION) === generation
  }
}
