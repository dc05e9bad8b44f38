/**
 * Proof of equality: which pages of a file hold what a home holds.
 *
 * Nothing that a file system tells about a file stays true by itself: the file is written, its blocks are moved by
 * deduplication, defragmentation or balancing without a new ctime, and freed blocks are soon somebody else's. A proof is
 * therefore made of questions asked in an order, inside a *window* in which the file did not change:
 *
 * ```
 *   s1  stamp of the file                    }
 *   t   the clock                            }  openWindow()
 *   w   nobody has it open for writing       }
 *   c1  the reuse counter, where there is one
 *   e1  extents of the file
 *   h   extents of the homes                    their bytes never change
 *   e2  extents of the file again
 *   c2  the reuse counter                       blocksStayed()
 *   s2  stamp of the file                       fileStayed()
 * ```
 *
 * **What the window says** (s1 = s2, w): between w and s2 the file's content was constant, and s1 labels just this content.
 * A write stamps ctime when it *starts*. One that was under way at w is seen by w, wherever it comes from, mappings
 * included. One that starts after w stamps a ctime that differs from s1, provided that the clock t, read before w, was
 * already beyond s1's granule: it makes s2 differ, or, when it starts after s2, every later stamp. Where w cannot be
 * answered, a young ctime counts as a write under way.
 *
 * **What equal addresses say.** e1 and e2 say that the file's page was at address P, h that the home's page was. The looks
 * are at different instants, and for them to speak of the same bytes P must not have changed its content in between.
 * Alternating looks alone never prove that: an adversary who moves file and home to and fro can have each of them at P whenever
 * it is looked at (the simulation's swapper does; more looks only make it rarer). What does prove it is one of these:
 * - homes stay where they are (XFS: unnamed, NODEFRAG): then P is the home's at e2 also. Not so at e1: the home may have been
 *   made since then, from a file whose block came to P after ours had left it (found by the simulation);
 * - freed blocks are not reused while the counter stands still (btrfs: c1 = c2): then P's content is the same at e1, h and e2;
 * - a file that leaves P does not come back within the window: then e1 = e2 says that it was at P during h. No file system promises
 *   this, so it is the second line of defence, for the case that one of the promises above does not hold.
 *
 * **What a clone says.** A clone is atomic: its bytes are the file's at one instant. Inside a window that is the constant
 * content, so a home cloned in it is equal to the file as a whole, whatever the blocks do: holes, tails and own pages included.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import type { Run } from '../cache/run-map.ts'
import { ExtentFlag, type ExtentList, isAddressable, isShareable } from '../storage/extents.ts'
import { type Clock, type HomeStorage, isSameStamp, type SourceFile, type Stamp } from './home-storage.ts'
import { PrivateReason } from './serving.ts'

/** A guess: bytes [start, end) of the file are those of `home`, `shift` bytes further there, because both are at `physical`. */
export interface Hint<Home> {
  readonly start: number
  readonly end: number
  readonly home: Home
  readonly shift: number
  readonly physical: number
}

interface WindowRules {
  /** Two changes within so many milliseconds may get the same ctime. */
  readonly ctimeGranularityMs: number
  /** Where writers cannot be seen: no write takes longer than so many milliseconds. */
  readonly settleMs: number
}

/** A stretch of time that began with a file at rest; ask at its end whether it stayed so. */
export class Window<File extends SourceFile, HomeFile> {
  readonly stamp: Stamp
  readonly #storage: HomeStorage<File, HomeFile>
  readonly #file: File
  readonly #reuseCounter: number | undefined

  constructor(storage: HomeStorage<File, HomeFile>, file: File, stamp: Stamp, reuseCounter: number | undefined) {
    this.#storage = storage
    this.#file = file
    this.stamp = stamp
    this.#reuseCounter = reuseCounter
  }

  /** Has no freed block been reused since the window was opened, as far as the storage counts that? */
  async blocksStayed(): Promise<boolean> {
    return (await this.#storage.reuseCounter?.(this.#file)) === this.#reuseCounter
  }

  /** Has the file had one content since the window was opened? */
  async fileStayed(): Promise<boolean> {
    return isSameStamp(this.stamp, await this.#storage.stamp(this.#file))
  }
}

/** Opens a window on a file whose stamp has just been taken, or says why none can be opened now. */
export async function openWindow<File extends SourceFile, HomeFile>(
  storage: HomeStorage<File, HomeFile>,
  file: File,
  stamp: Stamp,
  clock: Clock,
  rules: WindowRules,
): Promise<Window<File, HomeFile> | PrivateReason> {
  const ageMs = clock() - (stamp.ctimeSec * 1000 + stamp.ctimeNsec / 1e6)
  const isWritten = await storage.isOpenForWriting(file)
  if (ageMs < rules.ctimeGranularityMs) return PrivateReason.JUST_CHANGED
  if (isWritten === true) return PrivateReason.BEING_WRITTEN
  // The ctime may be a granule older than the write that stamped it.
  if (isWritten === undefined && ageMs < rules.settleMs + rules.ctimeGranularityMs) return PrivateReason.JUST_CHANGED
  return new Window(storage, file, stamp, await storage.reuseCounter?.(file))
}

/** Pages that a file has in common with a home. */
export type ProvedRun<Home> = Omit<Run, 'home'> & { readonly home: Home }

/** What {@link proveByAddresses} found. */
interface AddressProof<Home> {
  /** In file order, disjoint. */
  readonly runs: readonly ProvedRun<Home>[]
  /** Homes that are no longer where the hints said. */
  readonly moved: ReadonlySet<Home>
}

/**
 * Tests hints against what file and homes say now. `before` is e1, read inside `window`; the file must be shown to have
 * stayed before anything is done with the result. undefined: blocks were reused meanwhile, nothing is proved.
 */
export async function proveByAddresses<File extends SourceFile, HomeFile, Home extends HomeOfProof<HomeFile>>(
  storage: HomeStorage<File, HomeFile>,
  file: File,
  window: Window<File, HomeFile>,
  before: ExtentList,
  hints: readonly Hint<Home>[],
  extentsMax: number,
): Promise<AddressProof<Home> | undefined> {
  const size = window.stamp.size
  const stretches = stretchHints(hints, size)
  const extentsOfHome = new Map<Home, ExtentList>()
  for (const [home, [start, end]] of rangesByHome(stretches.concat(hints))) {
    extentsOfHome.set(home, await storage.homeExtents(home.file, start, end - start))
  }
  const after = await storage.extents(file, 0, size, extentsMax)
  if (!(await window.blocksStayed())) return undefined

  const runs = stretches.flatMap((stretch) =>
    proveStretch(stretch, before, extentsOfHome.get(stretch.home)!, after, size),
  )
  const moved = new Set<Home>()
  for (const hint of hints) {
    if (!moved.has(hint.home) && !isStillAt(hint, extentsOfHome.get(hint.home)!)) moved.add(hint.home)
  }
  return { runs, moved }
}

/** What the proof must know of a home. */
export interface HomeOfProof<HomeFile> {
  readonly file: HomeFile
  /** Bytes. */
  readonly size: number
}

/**
 * Lets every hint speak for the bytes around it, up to its neighbours: holes have no address, yet a hole in file and home
 * alike is equal, and a sparse clone is to be pristine. Hints that are not aligned to pages are left out. The result is in
 * file order, disjoint, and inside file and home; of a hint that is not, nothing is left.
 */
export function stretchHints<Home extends { readonly size: number }>(
  hints: readonly Hint<Home>[],
  size: number,
): Hint<Home>[] {
  const aligned = hints.filter((hint) => hint.shift % PAGE_BYTES === 0)
  const stretches: Hint<Home>[] = []
  for (const hint of aligned) {
    const last = stretches.at(-1)
    if (last !== undefined && last.home === hint.home && last.shift === hint.shift) continue
    if (last !== undefined) stretches[stretches.length - 1] = { ...last, end: hint.start }
    stretches.push({ ...hint, start: last === undefined ? 0 : hint.start, end: size })
  }
  return stretches.map((stretch) => ({
    ...stretch,
    start: Math.max(stretch.start, -stretch.shift),
    end: Math.min(stretch.end, stretch.home.size - stretch.shift),
  }))
}

/** The range of each home's file that holds all that the hints speak of. */
export function rangesByHome<Home>(hints: readonly Hint<Home>[]): Map<Home, [start: number, end: number]> {
  const ranges = new Map<Home, [number, number]>()
  for (const { home, start, end, shift } of hints) {
    const known = ranges.get(home)
    if (known === undefined) {
      ranges.set(home, [start + shift, end + shift])
    } else {
      known[0] = Math.min(known[0], start + shift)
      known[1] = Math.max(known[1], end + shift)
    }
  }
  return ranges
}

/** The whole pages of a stretch whose bytes are the same in file and home. */
export function proveStretch<Home>(
  stretch: Hint<Home>,
  before: ExtentList,
  ofHome: ExtentList,
  after: ExtentList,
  size: number,
): ProvedRun<Home>[] {
  const runs: ProvedRun<Home>[] = []
  const { home, shift, end } = stretch
  const [f1, h, f2] = [new ExtentCursor(before), new ExtentCursor(ofHome), new ExtentCursor(after)]
  /** Where the bytes found equal without interruption begin. */
  let equalFrom = stretch.start
  const close = (equalTo: number) => {
    const filePage = Math.ceil(equalFrom / PAGE_BYTES)
    // The file's last page may be a part of one: it is whole when it is equal up to the file's end.
    const endPage = equalTo === size ? Math.ceil(equalTo / PAGE_BYTES) : Math.floor(equalTo / PAGE_BYTES)
    if (endPage <= filePage) return
    runs.push({ filePage, pageCount: endPage - filePage, home, homePage: filePage + shift / PAGE_BYTES })
  }
  for (let at = stretch.start; at < end; ) {
    f1.seek(at)
    h.seek(at + shift)
    f2.seek(at)
    const next = Math.min(end, f1.end, h.end - shift, f2.end)
    if (!(sameBytes(f1, h) && sameBytes(f1, f2))) {
      close(at)
      equalFrom = next
    }
    at = next
  }
  close(end)
  return runs
}

/** Do two looks at extents speak of the same bytes? */
function sameBytes(a: ExtentCursor, b: ExtentCursor): boolean {
  if (a.isZero && b.isZero) return true
  if (!(isShareable(a.flags) && isShareable(b.flags))) return false
  return a.physical === b.physical
}

/** Is the home still at the addresses that made the hint? */
export function isStillAt<Home>(hint: Hint<Home>, ofHome: ExtentList): boolean {
  const cursor = new ExtentCursor(ofHome)
  for (let at = hint.start; at < hint.end; at = cursor.end - hint.shift) {
    cursor.seek(at + hint.shift)
    if (cursor.isZero || !isAddressable(cursor.flags)) return false
    if (cursor.physical !== hint.physical + (at - hint.start)) return false
  }
  return true
}

/** Walks an extent list, holes included. */
class ExtentCursor {
  /** Of the byte sought; meaningless where flags say so. */
  physical = 0
  flags = 0
  /** A hole, or allocated but never written. */
  isZero = true
  /** File offset where the extent, or the hole, ends. */
  end = 0
  readonly #list: ExtentList
  #at = -1

  constructor(list: ExtentList) {
    this.#list = list
  }

  /** Offsets must not go backwards. */
  seek(offset: number): void {
    const list = this.#list
    if (this.#at < 0) this.#at = list.indexAt(offset)
    while (this.#at < list.count && list.end(this.#at) <= offset) this.#at++
    const at = this.#at
    if (at < list.count && list.logical[at]! <= offset) {
      this.flags = list.flags[at]!
      this.physical = list.physical[at]! + (offset - list.logical[at]!)
      this.isZero = (this.flags & ExtentFlag.UNWRITTEN) !== 0 && isAddressable(this.flags)
      this.end = list.end(at)
    } else {
      this.flags = 0
      this.physical = 0
      this.isZero = true
      this.end = at < list.count ? list.logical[at]! : Number.POSITIVE_INFINITY
    }
  }
}
