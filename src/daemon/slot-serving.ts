/**
 * How the file in a slot is served, as it stands in shared memory, and the rules for joining it.
 *
 * ```
 * kind       UNDECIDED ── a decision is stored ──▶ PRIVATE | PRISTINE | MAPPED    (under the slot's lock)
 *            any ── the file changed and nobody has it open ──▶ UNDECIDED
 *   PRIVATE   passthrough to itself (backing ≠ 0), or read by the daemon from its own descriptor
 *   PRISTINE  passthrough to its home
 *   MAPPED    read by the daemon in pieces: run map `map`
 * ```
 * While the kernel has the inode open, how it is served cannot change (all opens of an inode in passthrough
 * must name one backing id). So an open that finds another state of the file than the one that is being served gets ESTALE, and the
 * inode is unhashed: the kernel looks the name up again, gets another nodeid with the same inode number, and opens that.
 * Who had the old one open keeps what he opened.
 *
 * A mapped file that is written through the daemon is joined whatever its ctime. Changes that others make in the source show all the same:
 * after each change of ours the file's state is stored, and another one at the next change, or open, is somebody else's
 * doing. Then the file is looked at again (`foreignSeen` ahead of `foreignChecked`) before anybody else joins. While our changes are
 * under way (`changing`), nobody can tell: what others do in that moment shows when they change it again.
 */
import type { Statx } from '../linux/statx.ts'
import { type InodeTable, KIND_ONCE, SLOT } from './inode-table.ts'
import { ctimeIs, setCtime } from './slot-ctime.ts'

export const SERVED = { UNDECIDED: 0, PRIVATE: 1, PRISTINE: 2, MAPPED: 3 } as const
/** Ored to MAPPED: written through the daemon since it was opened first. Its readers see that, so it may differ from what was decided on. */
const WRITTEN = 0x200

export class ServingState {
  readonly #inodes: InodeTable

  constructor(inodes: InodeTable) {
    this.#inodes = inodes
  }

  kind(slot: number): number {
    return this.#inodes.get(slot, SLOT.KIND) & 0xff
  }

  /** Whether the decision in the slot was made for the state of the file that `stat` shows. */
  matches(slot: number, stat: Statx): boolean {
    const { words } = this.#inodes
    const at = this.#inodes.at(slot)
    return (
      ctimeIs(this.#inodes, slot, SLOT.CTIME_SEC, stat) &&
      words[at + SLOT.SIZE_LOW]! >>> 0 === stat.sizeLow &&
      words[at + SLOT.SIZE_HIGH]! >>> 0 === stat.sizeHigh
    )
  }

  /** Whether the decision may be used for a first open: remembered, and not due to be made anew. */
  isRemembered(slot: number, nowSeconds: number): boolean {
    const kind = this.#inodes.get(slot, SLOT.KIND)
    if (kind === SERVED.UNDECIDED || kind & KIND_ONCE) return false
    const recheck = this.#inodes.get(slot, SLOT.RECHECK_SEC)
    return recheck === 0 || nowSeconds < recheck
  }

  /** Whether everybody who has the file open sees its changes, so that more can join although it has changed. */
  isCoherent(slot: number): boolean {
    return this.kind(slot) === SERVED.PRIVATE || this.isWritten(slot)
  }

  /** Whether it is mapped, and may have changed through the daemon since. */
  isWritten(slot: number): boolean {
    return (this.#inodes.get(slot, SLOT.KIND) & WRITTEN) !== 0
  }

  /** Under the slot's lock: the file is about to change through the daemon. The next first open is decided anew. */
  markWritten(slot: number): void {
    const kind = this.#inodes.get(slot, SLOT.KIND)
    if ((kind & 0xff) === SERVED.MAPPED) this.#inodes.set(slot, SLOT.KIND, kind | WRITTEN | KIND_ONCE)
    else this.forgetDecision(slot)
  }

  /** Under the slot's lock: a change of a mapped file begins. `stat`: the file before it. */
  beginChange(slot: number, stat: Statx): void {
    const changing = this.#inodes.get(slot, SLOT.CHANGING)
    if (changing === 0 && !this.matches(slot, stat)) this.#add(slot, SLOT.FOREIGN_SEEN)
    this.#inodes.set(slot, SLOT.CHANGING, changing + 1)
  }

  /** Under the slot's lock: it has ended, whatever became of it. `stat`: the file after it. */
  endChange(slot: number, stat: Statx): void {
    const changing = Math.max(0, this.#inodes.get(slot, SLOT.CHANGING) - 1)
    this.#inodes.set(slot, SLOT.CHANGING, changing)
    if (changing === 0) this.#store(slot, stat)
  }

  /**
   * Under the slot's lock: has somebody else changed a file that {@link isWritten}? Returns the number of the look that is due then,
   * for {@link checked}; else 0.
   */
  dueLook(slot: number, stat: Statx): number {
    if (this.#inodes.get(slot, SLOT.CHANGING) === 0 && !this.matches(slot, stat)) {
      this.#add(slot, SLOT.FOREIGN_SEEN)
      this.#store(slot, stat)
    }
    const seen = this.#inodes.get(slot, SLOT.FOREIGN_SEEN)
    return seen === this.#inodes.get(slot, SLOT.FOREIGN_CHECKED) ? 0 : seen
  }

  /** Under the slot's lock: the look has been taken. */
  checked(slot: number, look: number): void {
    this.#inodes.set(slot, SLOT.FOREIGN_CHECKED, Math.max(look, this.#inodes.get(slot, SLOT.FOREIGN_CHECKED)))
  }

  #add(slot: number, field: number): void {
    this.#inodes.set(slot, field, this.#inodes.get(slot, field) + 1)
  }

  #store(slot: number, stat: Statx): void {
    const { words } = this.#inodes
    const at = this.#inodes.at(slot)
    setCtime(this.#inodes, slot, SLOT.CTIME_SEC, stat)
    words[at + SLOT.SIZE_LOW] = stat.sizeLow
    words[at + SLOT.SIZE_HIGH] = stat.sizeHigh
  }

  /** Stores a decision for the state `stat` of the file. `recheckSeconds`: epoch second from which it counts no more, 0: never. */
  decide(slot: number, kind: number, stat: Statx, remember: boolean, recheckSeconds: number): void {
    const { words } = this.#inodes
    const at = this.#inodes.at(slot)
    words[at + SLOT.KIND] = kind | (remember ? 0 : KIND_ONCE)
    this.#store(slot, stat)
    words[at + SLOT.CHANGING] = 0
    words[at + SLOT.FOREIGN_SEEN] = 0
    words[at + SLOT.FOREIGN_CHECKED] = 0
    words[at + SLOT.RECHECK_SEC] = recheckSeconds
    words[at + SLOT.HOME] = 0
    words[at + SLOT.HOME_GENERATION] = 0
    words[at + SLOT.MAP] = 0
  }

  /** Forgets the decision. Returns the run map that it used, or 0: the caller releases it. */
  reset(slot: number): number {
    const map = this.#inodes.get(slot, SLOT.MAP)
    this.#inodes.set(slot, SLOT.KIND, SERVED.UNDECIDED)
    this.#inodes.set(slot, SLOT.MAP, 0)
    return map
  }

  /**
   * The decision may serve on while the file is open, but the next first open is decided anew. Without the slot's lock: a bit is added to
   * whatever stands there by now.
   */
  forgetDecision(slot: number): void {
    Atomics.or(this.#inodes.words, this.#inodes.at(slot) + SLOT.KIND, KIND_ONCE)
  }
}
