/**
 * Members: which files need a home.
 *
 * A home is worth keeping while two living files share it. To know that, some of its files are remembered and stamped now
 * and then; not all, because a home can have a million. While more than the remembered ones may live, the home is left to its
 * idle time.
 */
import type { HomeRecord } from './home.ts'
import type { Stamp } from './home-storage.ts'

/** A file that is served by homes. */
export interface Member<File, HomeFile> {
  readonly key: string
  readonly file: File
  /** The state in which it was last known to share. */
  stamp: Stamp
  /** Its homes, and how many bytes of it lie in each. */
  readonly homes: ReadonlyMap<HomeRecord<File, HomeFile>, number>
}

/** Invariant (restated by {@link checkInvariants}): a member is listed by each of its homes that is not retired, and by no other. */
export class Members<File, HomeFile> {
  readonly #byKey = new Map<string, Member<File, HomeFile>>()
  readonly #perHomeMax: number

  constructor(perHomeMax: number) {
    this.#perHomeMax = perHomeMax
  }

  get count(): number {
    return this.#byKey.size
  }

  get runBytes(): number {
    let bytes = 0
    for (const member of this.#byKey.values()) for (const inHome of member.homes.values()) bytes += inHome
    return bytes
  }

  /** The file is now served by these homes and no others. */
  set(member: Member<File, HomeFile>): void {
    this.delete(member.key)
    const tracked = new Map<HomeRecord<File, HomeFile>, number>()
    for (const [home, bytes] of member.homes) {
      home.firstMember ??= member.key
      if (home.firstMember !== member.key) home.wasShared = true
      if (home.members.size < this.#perHomeMax) tracked.set(home, bytes)
      else home.hasUntracked = true
    }
    this.#track({ ...member, homes: tracked })
  }

  /** The file is served by no home any more. */
  delete(key: string): void {
    const member = this.#byKey.get(key)
    if (member === undefined) return
    this.#byKey.delete(key)
    for (const home of member.homes.keys()) home.members.delete(key)
  }

  /** A home is gone: its members are those of their other homes only. */
  dropHome(home: HomeRecord<File, HomeFile>): void {
    for (const member of [...home.members.values()]) {
      const homes = new Map(member.homes)
      homes.delete(home)
      this.delete(member.key)
      this.#track({ ...member, homes })
    }
  }

  #track(member: Member<File, HomeFile>): void {
    if (member.homes.size === 0) return
    this.#byKey.set(member.key, member)
    for (const home of member.homes.keys()) home.members.set(member.key, member)
  }

  /** Groups of homes that have members in common: the number of families. */
  countFamilies(homes: Iterable<HomeRecord<File, HomeFile>>): number {
    const parent = new Map<HomeRecord<File, HomeFile>, HomeRecord<File, HomeFile>>()
    const find = (home: HomeRecord<File, HomeFile>): HomeRecord<File, HomeFile> => {
      let root = home
      while (parent.get(root) !== root) root = parent.get(root)!
      parent.set(home, root)
      return root
    }
    for (const home of homes) parent.set(home, home)
    for (const member of this.#byKey.values()) {
      const [first, ...others] = member.homes.keys()
      for (const other of others) parent.set(find(other), find(first!))
    }
    let families = 0
    for (const [home, root] of parent) if (home === root) families++
    return families
  }

  checkInvariants(homes: Iterable<HomeRecord<File, HomeFile>>): void {
    let listed = 0
    for (const home of homes) {
      for (const [key, member] of home.members) {
        listed++
        if (this.#byKey.get(key) !== member || !member.homes.has(home)) throw new Error(`${home} lists ${key} wrongly`)
      }
    }
    let known = 0
    for (const member of this.#byKey.values()) known += member.homes.size
    if (known !== listed) throw new Error(`members name ${known} homes, homes ${listed} members`)
  }
}
