/**
 * The lives of homes: how they are made, and when they are dropped.
 *
 * A home costs an open descriptor, and it holds on to every block that its files overwrite. So it goes
 * - when nobody has used it for `idleMs`;
 * - when it was shared and only one living file is left, or none (found by the sweep): what is then said to be shared is
 *   shared with the home alone;
 * - when it has been superseded;
 * - the least recently used first when the table is full, and all at once when the disk or a quota is,
 * and never while somebody uses it: HomeUsers has the last word. A home that never had a second file is left to its
 * idle time: the second may be about to come.
 */
import type { ExtentList } from '../storage/extents.ts'
import { ExtentFlag } from '../storage/extents.ts'
import type { DomainIndex } from './domain-index.ts'
import { errorCode, isGone, isNoClone, isNoSpace } from './failures.ts'
import { HomeRecord, HomeTable, isServing } from './home.ts'
import type { Clock, HomeStorage, HomeUsers, SourceFile } from './home-storage.ts'
import { isSameStamp } from './home-storage.ts'
import { type Member, Members } from './members.ts'
import type { Window } from './proof.ts'
import { PrivateReason } from './serving.ts'

interface LifeRules {
  readonly minShareBytes: number
  readonly maxExtents: number
  readonly maxHomes: number
  readonly idleMs: number
  readonly membersPerHome: number
  /** How often to look whether a home's blocks have moved. */
  readonly refreshMs: number
}

/** What a new home is to be. */
interface HomePlan<File, HomeFile> {
  readonly file: File
  /** Inside which the file is at rest: a home that was cloned while the file changed is thrown away. */
  readonly window: Window<File & SourceFile, HomeFile>
  /** The file's extents: the addresses to claim. */
  readonly extents: ExtentList
  /** Take over addresses that other homes have? */
  readonly takesOver: boolean
  readonly isMakerShareable: boolean
}

export class HomeLives<File extends SourceFile, HomeFile> {
  readonly table: HomeTable<File, HomeFile>
  readonly members: Members<File, HomeFile>
  made = 0
  dropped = 0
  /** Homes whose clone could not be dropped properly. */
  dropFailures = 0
  readonly #storage: HomeStorage<File, HomeFile>
  readonly #users: HomeUsers
  readonly #clock: Clock
  readonly #rules: LifeRules
  readonly #indexOf: (place: { fileSystem: string; domain: string | number }) => DomainIndex<File, HomeFile>
  readonly #onForget: (key: string) => void

  constructor(
    storage: HomeStorage<File, HomeFile>,
    users: HomeUsers,
    clock: Clock,
    rules: LifeRules,
    indexOf: (place: { fileSystem: string; domain: string | number }) => DomainIndex<File, HomeFile>,
    onForget: (key: string) => void,
  ) {
    this.#storage = storage
    this.#users = users
    this.#clock = clock
    this.#rules = rules
    this.#indexOf = indexOf
    this.#onForget = onForget
    this.table = new HomeTable(rules.maxHomes)
    this.members = new Members(rules.membersPerHome)
  }

  /** Makes room in a full table by dropping the home that has been unused for longest, but none of `kept`. False: all are in use. */
  async makeRoom(kept: ReadonlySet<HomeRecord<File, HomeFile>>): Promise<boolean> {
    while (this.table.isFull) {
      const homes = [...this.table].sort((a, b) => a.lastUsedMs - b.lastUsedMs)
      const leaving =
        homes.find((home) => home.state === 'retired') ?? homes.find((home) => !kept.has(home) && this.retire(home))
      if (leaving === undefined) return false
      await leaving.settled
    }
    return true
  }

  /**
   * Makes a home. Its addresses are claimed before this returns a promise, so who looks them up from then on waits for the outcome.
   * Resolves with the reason when there is none: UNSETTLED if the file did not stay at rest.
   */
  async make(plan: HomePlan<File, HomeFile>): Promise<HomeRecord<File, HomeFile> | PrivateReason> {
    if (this.table.isFull) return PrivateReason.MANY_HOMES
    const { file, extents, takesOver, isMakerShareable } = plan
    const { size } = plan.window.stamp
    const home = this.table.add(
      (number, generation) => new HomeRecord(number, generation, file, size, isMakerShareable, this.#clock()),
    )
    const index = this.#indexOf(home)
    const claimed = index.claim(home, extents, takesOver)
    const outcome = this.#complete(home, plan, index)
    home.settled = outcome.then(ignore, ignore)
    const reason = await outcome
    if (reason !== undefined) {
      for (const loser of claimed.homes) await this.reindex(loser)
      return reason
    }
    for (const key of claimed.sharers) {
      index.deleteSharer(key)
      if (key !== file.key) this.#onForget(key)
    }
    return home
  }

  /** Leaves nothing behind when there is to be no home. */
  async #complete(
    home: HomeRecord<File, HomeFile>,
    plan: HomePlan<File, HomeFile>,
    index: DomainIndex<File, HomeFile>,
  ): Promise<PrivateReason | undefined> {
    let clone: HomeFile | undefined
    try {
      clone = await this.#clone(plan.file)
      const extents = await this.#storage.homeExtents(clone, 0, home.size)
      if (await plan.window.fileStayed()) {
        index.deleteHome(home)
        index.claim(home, extents, plan.takesOver)
        home.complete(clone, extents.writtenBytes())
        this.made++
        return undefined
      }
      return PrivateReason.UNSETTLED
    } catch (error) {
      return reasonOf(error)
    } finally {
      if (home.state === 'making') {
        home.state = 'retired'
        if (clone !== undefined) await this.#dropClone(clone)
        index.deleteHome(home)
        this.table.delete(home)
      }
    }
  }

  async #clone(file: File): Promise<HomeFile> {
    try {
      return await this.#storage.createHome(file)
    } catch (error) {
      if (!isNoSpace(error)) throw error
    }
    await this.dropUnused()
    return await this.#storage.createHome(file)
  }

  /** Retires all homes that nobody uses and waits until they are gone. */
  async dropUnused(): Promise<void> {
    const retired = [...this.table].filter((home) => this.retire(home))
    await Promise.all(retired.map((home) => home.settled))
  }

  /** Ends a home's life, unless somebody uses it. */
  retire(home: HomeRecord<File, HomeFile>): boolean {
    if (!isServing(home) || !this.#users.tryRetire(home.number, home.generation)) return false
    this.#drop(home)
    return true
  }

  /** Drops all homes, used or not, and waits until they are gone. */
  async dropAll(): Promise<void> {
    for (const home of this.table) if (isServing(home)) this.#drop(home)
    await Promise.all([...this.table].map((home) => home.settled))
  }

  /** Until the clone is gone its addresses stay claimed: its family's extents are still marked as shared. */
  #drop(home: HomeRecord<File, HomeFile>): void {
    home.state = 'retired'
    this.members.dropHome(home)
    home.settled = this.#dropClone(home.file).then(() => {
      this.#indexOf(home).deleteHome(home)
      this.table.delete(home)
      this.dropped++
    })
  }

  async #dropClone(clone: HomeFile): Promise<void> {
    try {
      await this.#storage.dropHome(clone)
    } catch {
      this.dropFailures++
    }
  }

  /** Reads a home's addresses anew: it is not where it was thought to be, or lost some to a home that came to nothing. */
  async reindex(home: HomeRecord<File, HomeFile>): Promise<void> {
    const extents = await this.#readAddresses(home)
    if (extents !== undefined) this.#claimAnew(home, extents)
  }

  /** undefined: they cannot be had now, or are of no use any more. Old ones are only hints that do not prove. */
  async #readAddresses(home: HomeRecord<File, HomeFile>): Promise<ExtentList | undefined> {
    if (home.state !== 'live') return undefined
    try {
      const extents = await this.#storage.homeExtents(home.file, 0, home.size)
      home.addressesReadMs = this.#clock()
      return isServing(home) ? extents : undefined
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      return undefined
    }
  }

  #claimAnew(home: HomeRecord<File, HomeFile>, extents: ExtentList): void {
    const index = this.#indexOf(home)
    index.deleteHome(home)
    index.claim(home, extents, false)
  }

  /** Drops what need not live, and looks where one home's blocks are now. */
  async sweep(): Promise<void> {
    const retired: HomeRecord<File, HomeFile>[] = []
    for (const home of [...this.table]) {
      if (!isServing(home)) continue
      if (this.#users.isUsed(home.number, home.generation)) home.lastUsedMs = this.#clock()
      else if ((await this.#isExpendable(home)) && this.retire(home)) retired.push(home)
    }
    await this.#refreshOne()
    await Promise.all(retired.map((home) => home.settled))
  }

  async #isExpendable(home: HomeRecord<File, HomeFile>): Promise<boolean> {
    const now = this.#clock()
    // The clock was set back: start anew.
    if (home.lastUsedMs > now) home.lastUsedMs = now
    const { lastUsedMs } = home
    if (home.state === 'superseded') return true
    if (now - lastUsedMs >= this.#rules.idleMs) return true
    if (home.hasUntracked || home.firstMember === undefined) return false
    let living = 0
    for (const member of [...home.members.values()]) {
      if (await this.#needs(member, home)) living++
      else if (home.members.get(member.key) === member) this.members.delete(member.key)
      // Somebody was served by the home meanwhile: what was counted is out of date.
      if (living === 2 || home.lastUsedMs !== lastUsedMs) return false
    }
    return living === 0 || home.wasShared
  }

  /** Does the file live, and does it still share with the home? */
  async #needs(member: Member<File, HomeFile>, home: HomeRecord<File, HomeFile>): Promise<boolean> {
    try {
      const stamp = await this.#storage.stamp(member.file)
      if (stamp.nlink === 0) return false
      if (isSameStamp(stamp, member.stamp)) return true
      const extents = await this.#storage.extents(member.file, 0, stamp.size, this.#rules.maxExtents)
      let shared = 0
      for (const hint of this.#indexOf(home).lookup(member.key, extents).hints) {
        if (hint.home === home) shared += hint.end - hint.start
      }
      if (shared < this.#rules.minShareBytes) return false
      member.stamp = stamp
      return true
    } catch (error) {
      // Only a file that is gone needs nothing; of one that cannot be read just now nothing is known.
      return !isGone(error)
    }
  }

  /** Looks where the blocks of that home are now whose addresses are the oldest, if they are old. */
  async #refreshOne(): Promise<void> {
    const due = this.#clock() - this.#rules.refreshMs
    const [oldest] = [...this.table]
      .filter((home) => home.state === 'live' && home.addressesReadMs <= due)
      .sort((a, b) => a.addressesReadMs - b.addressesReadMs)
    if (oldest === undefined) return
    const extents = await this.#readAddresses(oldest)
    if (extents !== undefined && !this.#indexOf(oldest).isCurrent(oldest, extents)) this.#claimAnew(oldest, extents)
  }

  /** Bytes that only homes refer to. Homes that cannot be read count as none. */
  async pinnedBytes(): Promise<number> {
    let bytes = 0
    for (const home of [...this.table]) {
      if (!isServing(home)) continue
      try {
        const extents = await this.#storage.homeExtents(home.file, 0, home.size)
        for (let i = 0; i < extents.count; i++) {
          if ((extents.flags[i]! & (ExtentFlag.SHARED | ExtentFlag.UNWRITTEN)) === 0) bytes += extents.length[i]!
        }
      } catch (error) {
        if (errorCode(error) === undefined) throw error
      }
    }
    return bytes
  }
}

function ignore(): void {}

function reasonOf(error: unknown): PrivateReason {
  if (isNoSpace(error)) return PrivateReason.NO_SPACE
  if (isNoClone(error)) return PrivateReason.NO_CLONE
  if (errorCode(error) === undefined) throw error
  return PrivateReason.FAILED
}
