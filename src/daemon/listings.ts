/**
 * Which lists of directories the kernel keeps (FOPEN_CACHE_DIR): who lists a directory again then asks the daemon for nothing but to open it.
 *
 * The daemon says at each open whether what the kernel has kept still holds (FOPEN_KEEP_CACHE). It does while the directory has the ctime that it had when the kernel began to make its list,
 * and that one was over by then: whatever has changed since has moved it. The kernel itself sees what is changed through the mount.
 *
 * ```
 * record of a slot   ctime    of the directory, when it was opened by whom the kernel makes its list for
 *                    listed   NONE      there is no such list
 *                             OPENED    the answer to that open is under way: the kernel may still have an older list
 *                             BEGUN     it has dropped that
 * ```
 * A list is begun for a directory that nobody else has open: an answer that is under way to another listing may be of an older state, and the kernel would put it into the new list. Who
 * opens it meanwhile may use the list once it is begun, if nothing has changed; else he gets one that is not kept. Who has had it open for longer and rewinds it sees the list that is there, however old: no request tells of
 * that. With `--watch` the list is dropped when something changes (noticing.ts).
 *
 * Where files are being looked up the kernel neither makes a list nor uses the one that it has: then it had better ask for them along with their names, see lookup-advice.ts. Of an encrypted directory it keeps none: its
 * names become others when its key comes or goes, and its ctime does not. And of one that was listed in part before it changed it keeps none by itself, until it forgets the inode: a list that was begun and dropped it does
 * not begin anew.
 */
import { FOPEN } from '../fuse/protocol.ts'
import { STATX_ATTR, type Statx } from '../linux/statx.ts'
import { isCtimeOver } from '../util/ctime.ts'
import { type InodeTable, SLOT } from './inode-table.ts'
import { ctimeIs, setCtime } from './slot-ctime.ts'

const LISTED = { NONE: 0, OPENED: 1, BEGUN: 2 } as const

/** What is looked at of a directory. */
export type DirectoryStat = Pick<Statx, 'ofFd' | 'attributesLow' | 'ctimeSec' | 'ctimeSecLow' | 'ctimeNsec'>

export class Listings {
  readonly #inodes: InodeTable
  readonly #now: () => number

  /** `now`: milliseconds, of the clock that stamps files. */
  constructor(inodes: InodeTable, now: () => number = Date.now) {
    this.#inodes = inodes
    this.#now = now
  }

  /**
   * Counts one more open of the slot's directory, on which `fd` is open: the flags for the answer. `stat` is used; `mayKeep`: whether the kernel may make a list, or use it.
   */
  open(slot: number, fd: number, stat: DirectoryStat, mayKeep: boolean): number {
    const inodes = this.#inodes
    const lock = inodes.lockOf(slot)
    lock.lock()
    try {
      const isAlone = inodes.get(slot, SLOT.OPENS) === 0
      const listed = Atomics.load(inodes.words, inodes.at(slot) + SLOT.LISTED)
      const isKnown = stat.ofFd(fd) === 0 && (stat.attributesLow & STATX_ATTR.ENCRYPTED) === 0
      inodes.countOpen(slot, 1)
      if (!isKnown) return 0
      if (listed === LISTED.BEGUN && ctimeIs(inodes, slot, SLOT.CTIME_SEC, stat))
        return FOPEN.KEEP_CACHE | (mayKeep ? FOPEN.CACHE_DIR : 0)
      if (!mayKeep || !isAlone || !this.#isOver(stat)) return 0
      setCtime(inodes, slot, SLOT.CTIME_SEC, stat)
      Atomics.store(inodes.words, inodes.at(slot) + SLOT.LISTED, LISTED.OPENED)
      return FOPEN.CACHE_DIR
    } finally {
      lock.unlock()
    }
  }

  /** Somebody lists the slot's directory: so the kernel has got the answer to its open, and has done what that said. */
  begun(slot: number): void {
    Atomics.compareExchange(this.#inodes.words, this.#inodes.at(slot) + SLOT.LISTED, LISTED.OPENED, LISTED.BEGUN)
  }

  #isOver(stat: DirectoryStat): boolean {
    return isCtimeOver(stat.ctimeSec * 1000 + stat.ctimeNsec / 1e6, stat.ctimeNsec, this.#now())
  }
}
