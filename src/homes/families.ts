/**
 * Families: decides how a file that is being opened is served, and has homes made where they pay.
 *
 * The phases of a decision; all of it is one attempt, made again when the file or the homes changed meanwhile:
 *
 * 1. Open a window on the file (proof.ts): it must be at rest.
 * 2. Read its extents. With little that is shared the file is private.
 * 3. Look up who has their addresses. If such a home is just being made or dropped, wait and begin again.
 * 4. Prove which pages the known homes have.
 * 5. If a further home pays, make it: it gets what no other home has, and its clone is equal to the file as a whole.
 * 6. See that the file stayed as it was. What was found holds as long as its stamp does.
 *
 * **When a further home pays.** Shared bytes that lie in no home yet count as if they were a file of their own: below
 * `minShareBytes` (or `minSharePart` of the file) they are left alone; from `largeShareBytes` on they get a home at once,
 * which spares the first reader a second reading from the disk; in between the file is remembered as *first sharer*, and the
 * home is made when a second file comes along with the same addresses.
 *
 * A file that *wants* a home (its bytes are mapped, which is safe with homes only) gets one at once, and where all of it is wanted all of its data counts, shared or not.
 *
 * **Superseding.** The first file opened of a family may be a diverged one. Its home then has pages that nobody else
 * has, and the many pristine files that come later would for ever be served in pieces, which is slower. So a file that
 * (a) has no pages of its own, (b) is equal in at least `supersedeCoverage` to a home whose maker had some, and (c) made none
 * of the homes it is in, gets a home that takes over its addresses; the old one serves on until its users are gone. The cost:
 * meanwhile the content is in memory twice and is read once more. It is paid once per family, because the new home's
 * maker has no pages of its own. (c) is needed because a home makes the pages of its maker shared.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { RunMap } from '../cache/run-map.ts'
import { ExtentFlag, type ExtentList, isAddressable } from '../storage/extents.ts'
import { CTIME_GRANULE_MS } from '../util/ctime.ts'
import { DomainIndex, type Findings } from './domain-index.ts'
import { errorCode, isNoExtents, isTooMany } from './failures.ts'
import { type Home, type HomeRecord, isServing } from './home.ts'
import { HomeLives } from './home-lives.ts'
import {
  type Clock,
  type HomeStorage,
  type HomeUsers,
  isSameStamp,
  type SourceFile,
  type Stamp,
} from './home-storage.ts'
import { openWindow, type ProvedRun, proveByAddresses, type Window } from './proof.ts'
import { type ByteRange, findChanged } from './recheck.ts'
import { type PrivateReason, PrivateReason as Reason, type Serving } from './serving.ts'

/** All sizes in bytes, all times in milliseconds. */
export interface FamiliesOptions {
  /** Fewer shared bytes than this are not worth a home. Default 256 KiB. */
  readonly minShareBytes?: number
  /** Nor is a smaller part of the file than this: all of it would be served slower. Default 0.01. */
  readonly minSharePart?: number
  /** With at least so many shared bytes a file gets a home when it is first opened. Default 1 MiB. */
  readonly largeShareBytes?: number
  /** Files with more extents are private. Default 200,000. */
  readonly maxExtents?: number
  /** Homes at once: each costs an open descriptor. Home numbers are below this. Default 10,000. */
  readonly maxHomes?: number
  /** A home that nobody used for so long is dropped. Default 5 minutes. */
  readonly idleMs?: number
  /** A home is superseded by a file that it covers at least to this part, see above. Default 0.9. */
  readonly supersedeCoverage?: number
  /** Two changes within this time may get equal ctimes. 0 for kernels with fine-grained ctimes (6.13). Default 20 ms. */
  readonly ctimeGranularityMs?: number
  /** Where open writers cannot be seen, a younger ctime counts as a write under way. Default 5 s. */
  readonly settleMs?: number
  /** How long a private file goes unexamined whose ctime does not tell when it gets clones. Default 1 minute. */
  readonly recheckMs?: number
  /** Files remembered per home, to know when it is needed no more. Default 64. */
  readonly membersPerHome?: number
  /** Extents remembered of files that wait for a second sharer. Default 200,000. */
  readonly firstSharerExtentsMax?: number
  /** Called when what was decided for the file of this key should be decided anew at its next open. */
  readonly onForget?: (key: string) => void
}

const DEFAULTS = {
  minShareBytes: 256 * 1024,
  minSharePart: 0.01,
  largeShareBytes: 1024 * 1024,
  maxExtents: 200_000,
  maxHomes: 10_000,
  idleMs: 5 * 60_000,
  supersedeCoverage: 0.9,
  ctimeGranularityMs: CTIME_GRANULE_MS,
  settleMs: 5_000,
  recheckMs: 60_000,
  membersPerHome: 64,
  firstSharerExtentsMax: 200_000,
  onForget: (_key: string): void => {},
}

export interface FamiliesStatistics {
  /** Homes now, those being made or dropped included. */
  readonly homes: number
  /** Groups of homes with a file in common. */
  readonly families: number
  /** Files served by homes, as far as remembered. */
  readonly members: number
  /** Bytes of members that lie in homes. */
  readonly runBytes: number
  readonly homesMade: number
  readonly homesDropped: number
  readonly homesSuperseded: number
  /** Homes whose clone could not be dropped properly. */
  readonly dropFailures: number
  /** Decisions so far by how the file is served; private ones by reason. */
  readonly pristine: number
  readonly diverged: number
  readonly private: Readonly<Record<PrivateReason, number>>
}

/** A home by its number, and which of those that had the number. */
type HomeName = Pick<Home<unknown>, 'number' | 'generation'>

/** How long a private decision may be used again. */
const MEMORY: Readonly<Record<PrivateReason, 'not' | 'for a while' | 'always'>> = {
  [Reason.SMALL]: 'always',
  [Reason.LITTLE_SHARED]: 'for a while',
  [Reason.COMPRESSED]: 'for a while',
  [Reason.FIRST_SHARER]: 'always',
  [Reason.BEING_WRITTEN]: 'not',
  [Reason.JUST_CHANGED]: 'not',
  [Reason.UNSETTLED]: 'not',
  [Reason.MANY_EXTENTS]: 'always',
  [Reason.NO_EXTENTS]: 'always',
  [Reason.NO_CLONE]: 'always',
  [Reason.NO_SPACE]: 'for a while',
  [Reason.MANY_HOMES]: 'for a while',
  [Reason.FAILED]: 'not',
}

const ATTEMPTS_MAX = 4
/** Waiting for somebody else's home is no failed attempt, but must end some time. */
const WAITS_MAX = 32

/** The result of an attempt that has to be made again. */
const AGAIN = Symbol('again')
const WAITED = Symbol('waited')

type Runs<File, HomeFile> = readonly ProvedRun<HomeRecord<File, HomeFile>>[]

/** Context: one thread. Allocates; meant for opens, not for reads. */
export class Families<File extends SourceFile, HomeFile> {
  readonly #storage: HomeStorage<File, HomeFile>
  readonly #clock: Clock
  readonly #options: typeof DEFAULTS
  readonly #lives: HomeLives<File, HomeFile>
  readonly #indexes = new Map<string, DomainIndex<File, HomeFile>>()
  /** Decisions under way, by file. */
  readonly #running = new Map<string, Promise<Serving<HomeFile>>>()
  #sweeping: Promise<void> | undefined
  #superseded = 0
  #pristine = 0
  #diverged = 0
  readonly #private = Object.fromEntries(Object.values(Reason).map((reason) => [reason, 0])) as Record<
    PrivateReason,
    number
  >

  constructor(storage: HomeStorage<File, HomeFile>, users: HomeUsers, clock: Clock, options: FamiliesOptions = {}) {
    this.#storage = storage
    this.#clock = clock
    this.#options = { ...DEFAULTS, ...options }
    const refreshMs = this.#options.recheckMs
    const rules = { ...this.#options, refreshMs }
    this.#lives = new HomeLives(storage, users, clock, rules, (place) => this.#indexOf(place), this.#options.onForget)
  }

  /**
   * Decides how to serve a file that is being opened; see {@link Serving} for what the answer promises. What it
   * names was equal at an instant after this call. Rejects when the file cannot be stamped, with that error.
   * Calls for one file at a time share a decision where it holds for all of them; calls for other files are not held up,
   * unless they need a home that is just being made or dropped.
   */
  serve(file: File): Promise<Serving<HomeFile>> {
    const running = this.#running.get(file.key)
    if (running !== undefined) return this.#join(file, running)
    const decision = this.#decide(file).finally(() => this.#running.delete(file.key))
    this.#running.set(file.key, decision)
    return decision
  }

  /**
   * The bytes of a file, now `size` long and served by `map`, that the homes `refs` may not have any more; see {@link findChanged}. Where nothing can be
   * found out, all of them.
   */
  async changedRanges(file: File, size: number, map: RunMap, refs: readonly HomeName[]): Promise<readonly ByteRange[]> {
    const generations = new Map(refs.map(({ number, generation }) => [number, generation]))
    const homeOf = (number: number) => this.#lives.table.get(number, generations.get(number)!)
    try {
      return await findChanged(this.#storage, file, size, map, homeOf, this.#options.maxExtents)
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      return [[0, map.sizeBytes]]
    }
  }

  /** Says that a home was used by a remembered decision, which makes it the last to be dropped for room. */
  touched(number: number, generation: number): void {
    const home = this.#lives.table.get(number, generation)
    if (home !== undefined) home.lastUsedMs = this.#clock()
  }

  /** To be called every few seconds. Drops homes that are idle, superseded, or without a second living file. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#lives.sweep().finally(() => {
      this.#sweeping = undefined
      // A decision under way holds on to its index.
      if (this.#running.size > 0) return
      for (const [name, index] of this.#indexes) if (index.isEmpty) this.#indexes.delete(name)
    })
    return this.#sweeping
  }

  /** Drops all homes that nobody uses now, and waits until their space is free. */
  dropUnused(): Promise<void> {
    return this.#lives.dropUnused()
  }

  /** Bytes on disk that only homes refer to, their files having overwritten or lost them. Reads all homes' extents. */
  pinnedBytes(): Promise<number> {
    return this.#lives.pinnedBytes()
  }

  /** Homes that serve, in the order of their numbers. */
  homes(): Home<HomeFile>[] {
    return [...this.#lives.table].filter(isServing)
  }

  hasHomesOn(fileSystem: string): boolean {
    for (const home of this.#lives.table) if (isServing(home) && home.fileSystem === fileSystem) return true
    return false
  }

  statistics(): FamiliesStatistics {
    const { table, members } = this.#lives
    return {
      homes: table.count,
      families: members.countFamilies(table),
      members: members.count,
      runBytes: members.runBytes,
      homesMade: this.#lives.made,
      homesDropped: this.#lives.dropped,
      homesSuperseded: this.#superseded,
      dropFailures: this.#lives.dropFailures,
      pristine: this.#pristine,
      diverged: this.#diverged,
      private: { ...this.#private },
    }
  }

  /** Waits for what is under way, then drops all homes, used or not. Nothing may be called after this. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#running.values()])
    await this.#sweeping
    await this.#lives.dropAll()
  }

  checkInvariants(): void {
    const { table, members } = this.#lives
    table.checkInvariants()
    members.checkInvariants(table)
    const homes = new Set(table)
    for (const index of this.#indexes.values()) index.checkInvariants(homes)
  }

  /** A decision that was already under way holds for this call only if the file is still in the state that it is about. */
  async #join(file: File, running: Promise<Serving<HomeFile>>): Promise<Serving<HomeFile>> {
    const decision = await running.catch(() => undefined)
    if (decision === undefined) return this.serve(file)
    if (!isSameStamp(decision.stamp, await this.#storage.stamp(file))) return this.serve(file)
    return decision
  }

  async #decide(file: File): Promise<Serving<HomeFile>> {
    let stamp = await this.#storage.stamp(file)
    for (let attempts = 0, waits = 0; attempts < ATTEMPTS_MAX && waits < WAITS_MAX; ) {
      const outcome = await this.#attempt(file, stamp)
      if (outcome !== AGAIN && outcome !== WAITED) return outcome
      if (outcome === WAITED) waits++
      else attempts++
      stamp = await this.#storage.stamp(file)
    }
    return this.#servePrivately(file, stamp, Reason.UNSETTLED)
  }

  async #attempt(file: File, stamp: Stamp): Promise<Serving<HomeFile> | typeof AGAIN | typeof WAITED> {
    try {
      if (stamp.size < Math.max(this.#options.minShareBytes, 1)) return this.#servePrivately(file, stamp, Reason.SMALL)
      const window = await openWindow(this.#storage, file, stamp, this.#clock, this.#options)
      if (typeof window === 'string') return this.#servePrivately(file, stamp, window)
      return await this.#attemptInside(window, file)
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      if (isTooMany(error)) return this.#servePrivately(file, stamp, Reason.MANY_EXTENTS)
      if (isNoExtents(error)) return this.#servePrivately(file, stamp, Reason.NO_EXTENTS)
      return this.#servePrivately(file, stamp, Reason.FAILED)
    }
  }

  async #attemptInside(
    window: Window<File, HomeFile>,
    file: File,
  ): Promise<Serving<HomeFile> | typeof AGAIN | typeof WAITED> {
    const { stamp } = window
    const { size } = stamp
    const index = this.#indexOf(file)
    const extents = await this.#storage.extents(file, 0, size, this.#options.maxExtents)
    const found = index.lookup(file.key, extents)
    // What could lie in homes, and what of it does not yet.
    const eligible = file.wantsHome === 'all' ? dataBytes(extents) : found.shareable
    const missing = eligible - (found.shareable - found.unowned)
    if (!this.#isWorthwhile(eligible, size)) {
      index.deleteSharer(file.key)
      const isCompressed = this.#isWorthwhile(found.shareable + extents.sharedEncodedBytes(), size)
      return this.#servePrivately(file, stamp, isCompressed ? Reason.COMPRESSED : Reason.LITTLE_SHARED)
    }
    if (found.unsettled.size > 0) return this.#waitFor(found)

    let runs: Runs<File, HomeFile> = []
    if (found.hints.length > 0) {
      const { hints } = found
      const proof = await proveByAddresses(this.#storage, file, window, extents, hints, this.#options.maxExtents)
      if (proof === undefined) return AGAIN
      for (const home of proof.moved) await this.#lives.reindex(home)
      if (proof.moved.size > 0) return AGAIN
      runs = proof.runs
    }

    let reason: PrivateReason = Reason.LITTLE_SHARED
    const superseded = this.#supersededBy(file.key, runs, found, extents, size)
    const isWanted = file.wantsHome !== undefined ? this.#isWorthwhile(missing, size) : this.#isHomeWanted(found, size)
    if (superseded.length > 0 || isWanted) {
      const hasRoom = await this.#lives.makeRoom(new Set(runs.map((run) => run.home)))
      // Others may have made or claimed homes while this waited. From here to make() nothing does.
      const now = index.lookup(file.key, extents)
      if (now.unsettled.size > 0) return this.#waitFor(now)
      if (now.unowned !== found.unowned) return AGAIN
      const takesOver = superseded.length > 0
      const isMakerShareable = found.shareable === dataBytes(extents)
      const home = hasRoom
        ? await this.#lives.make({ file, window, extents, takesOver, isMakerShareable })
        : Reason.MANY_HOMES
      if (home === Reason.UNSETTLED) return AGAIN
      if (typeof home === 'string') {
        reason = home
      } else {
        runs = fillWith(home, takesOver ? [] : runs, size)
        this.#supersede(superseded)
      }
    } else if (this.#isWorthwhile(found.unowned, size)) {
      reason = Reason.FIRST_SHARER
    }

    if (!(await window.fileStayed())) return AGAIN
    if (runs.some(({ home }) => home.state === 'retired')) return AGAIN
    if (reason === Reason.FIRST_SHARER) index.addSharer(file.key, extents).forEach(this.#options.onForget)
    if (!this.#isWorthwhile(bytesOf(runs), size)) return this.#servePrivately(file, stamp, reason)
    return this.#serveByHomes(file, stamp, runs)
  }

  async #waitFor(found: Findings<HomeRecord<File, HomeFile>>): Promise<typeof WAITED> {
    await Promise.all([...found.unsettled].map((home) => home.settled))
    return WAITED
  }

  #isWorthwhile(bytes: number, size: number): boolean {
    return bytes >= this.#options.minShareBytes && bytes >= this.#options.minSharePart * size
  }

  #isHomeWanted(found: Findings<HomeRecord<File, HomeFile>>, size: number): boolean {
    if (!this.#isWorthwhile(found.unowned, size)) return false
    return found.unowned >= this.#options.largeShareBytes || found.seenElsewhere >= this.#options.minShareBytes
  }

  /** The homes that a home made from this file would supersede; none if it must not. */
  #supersededBy(
    key: string,
    runs: Runs<File, HomeFile>,
    found: Findings<HomeRecord<File, HomeFile>>,
    extents: ExtentList,
    size: number,
  ): HomeRecord<File, HomeFile>[] {
    if (isPristine(runs, size) || found.shareable < dataBytes(extents)) return []
    const homes = new Set(runs.map((run) => run.home))
    for (const home of homes) if (home.maker === key) return []
    return [...homes].filter(
      (home) =>
        !home.isMakerShareable &&
        bytesOf(runs.filter((run) => run.home === home)) >= this.#options.supersedeCoverage * size,
    )
  }

  #supersede(homes: HomeRecord<File, HomeFile>[]): void {
    for (const home of homes) {
      if (home.state !== 'live') continue
      home.state = 'superseded'
      this.#superseded++
      for (const key of home.members.keys()) this.#options.onForget(key)
      this.#lives.retire(home)
    }
  }

  #serveByHomes(file: File, stamp: Stamp, runs: Runs<File, HomeFile>): Serving<HomeFile> {
    const bytesByHome = new Map<HomeRecord<File, HomeFile>, number>()
    for (const run of runs) {
      const end = Math.min((run.filePage + run.pageCount) * PAGE_BYTES, stamp.size)
      bytesByHome.set(run.home, (bytesByHome.get(run.home) ?? 0) + end - run.filePage * PAGE_BYTES)
    }
    const homes = [...bytesByHome.keys()]
    for (const home of homes) home.lastUsedMs = this.#clock()
    this.#lives.members.set({ key: file.key, file, stamp, homes: bytesByHome })
    const decision = { stamp, remember: true, recheckAtMs: Number.POSITIVE_INFINITY }
    if (isPristine(runs, stamp.size)) {
      this.#pristine++
      return { kind: 'pristine', home: homes[0]!, ...decision }
    }
    this.#diverged++
    const map = RunMap.build(
      runs.map((run) => ({ ...run, home: run.home.number })),
      stamp.size,
    )
    return { kind: 'diverged', map, homes, ...decision }
  }

  #servePrivately(file: File, stamp: Stamp, reason: PrivateReason): Serving<HomeFile> {
    this.#private[reason]++
    this.#lives.members.delete(file.key)
    const memory = MEMORY[reason]
    const recheckAtMs = memory === 'for a while' ? this.#clock() + this.#options.recheckMs : Number.POSITIVE_INFINITY
    return { kind: 'private', reason, stamp, remember: memory !== 'not', recheckAtMs }
  }

  #indexOf(place: { readonly fileSystem: string; readonly domain: string | number }): DomainIndex<File, HomeFile> {
    const name = `${place.fileSystem}\n${typeof place.domain}\n${place.domain}`
    let index = this.#indexes.get(name)
    if (index === undefined) {
      index = new DomainIndex(this.#options.firstSharerExtentsMax)
      this.#indexes.set(name, index)
    }
    return index
  }
}

/** Bytes in pages of runs; the last page counts as whole. */
function bytesOf(runs: readonly { readonly pageCount: number }[]): number {
  return runs.reduce((sum, run) => sum + run.pageCount, 0) * PAGE_BYTES
}

/** Bytes of a file that are neither holes nor allocated for nothing. */
function dataBytes(extents: ExtentList): number {
  let bytes = 0
  for (let i = 0; i < extents.count; i++) {
    const flags = extents.flags[i]!
    if (!((flags & ExtentFlag.UNWRITTEN) !== 0 && isAddressable(flags))) bytes += extents.length[i]!
  }
  return bytes
}

function isPristine<Home extends { readonly size: number }>(runs: readonly ProvedRun<Home>[], size: number): boolean {
  const [run] = runs
  return (
    runs.length === 1 &&
    run!.filePage === 0 &&
    run!.homePage === 0 &&
    run!.pageCount === Math.ceil(size / PAGE_BYTES) &&
    run!.home.size === size
  )
}

/** The runs, and between them those of a home that equals the file as a whole. */
function fillWith<Home>(home: Home, runs: readonly ProvedRun<Home>[], size: number): ProvedRun<Home>[] {
  const filled: ProvedRun<Home>[] = []
  let at = 0
  const fillTo = (page: number) => {
    if (at < page) filled.push({ filePage: at, pageCount: page - at, home, homePage: at })
  }
  for (const run of runs) {
    fillTo(run.filePage)
    filled.push(run)
    at = run.filePage + run.pageCount
  }
  fillTo(Math.ceil(size / PAGE_BYTES))
  return filled
}
