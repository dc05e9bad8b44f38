/**
 * What is known about the addresses of one file system in one domain: which home has them, and, where none has, which file
 * was seen with them first.
 *
 * Every physical page belongs to at most one home here, so that its bytes are held in memory once; the addresses of a
 * home that is being made are claimed, so that two files of one family never make two homes of the same content.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { type ExtentList, isAddressable, isShareable } from '../storage/extents.ts'
import { AddressIndex } from './address-index.ts'
import { HomeRecord } from './home.ts'
import type { Hint } from './proof.ts'

/** A file whose shared bytes lie in no home yet. */
interface Sharer {
  readonly key: string
  /** Spans that it took. */
  readonly spans: number
}

/** What the index says about a file's extents. All counts in bytes of shareable extents. */
export interface Findings<Home> {
  readonly hints: Hint<Home>[]
  /** Homes whose fate must be known before anything can be said: being made or being dropped. */
  readonly unsettled: Set<Home>
  readonly shareable: number
  /** Neither a home's nor a first sharer's, or a first sharer's; what a further home would hold. */
  readonly unowned: number
  /** The part of `unowned` that another file was seen with. */
  readonly seenElsewhere: number
}

export class DomainIndex<File, HomeFile> {
  readonly #index = new AddressIndex<HomeRecord<File, HomeFile> | Sharer>()
  /** First sharers by key, the longest known first. */
  readonly #sharers = new Map<string, Sharer>()
  readonly #sharerSpansMax: number
  #sharerSpans = 0

  /** `sharerSpansMax`: how many spans to spend on first sharers. */
  constructor(sharerSpansMax: number) {
    this.#sharerSpansMax = sharerSpansMax
  }

  get isEmpty(): boolean {
    return this.#index.size === 0
  }

  /** Looks up all shareable extents of the file `key`. */
  lookup(key: string, extents: ExtentList): Findings<HomeRecord<File, HomeFile>> {
    const hints: Hint<HomeRecord<File, HomeFile>>[] = []
    const unsettled = new Set<HomeRecord<File, HomeFile>>()
    let shareable = 0
    let owned = 0
    let seenElsewhere = 0
    for (let i = 0; i < extents.count; i++) {
      if (!isShareable(extents.flags[i]!)) continue
      const physical = extents.physical[i]!
      const toLogical = extents.logical[i]! - physical
      shareable += extents.length[i]!
      this.#index.visit(physical, physical + extents.length[i]!, (owner, start, end, offset) => {
        if (!(owner instanceof HomeRecord)) {
          if (owner.key !== key) seenElsewhere += end - start
          return
        }
        owned += end - start
        if (owner.state === 'live') {
          const fileStart = start + toLogical
          const shift = offset - fileStart
          hints.push({ start: fileStart, end: end + toLogical, home: owner, shift, physical: start })
        } else if (owner.state !== 'superseded') {
          unsettled.add(owner)
        }
      })
    }
    return { hints, unsettled, shareable, unowned: shareable - owned, seenElsewhere }
  }

  /**
   * Gives the addresses in `extents` to `home`, save those of other homes unless `takesOver`. Returns the keys of first sharers and
   * the homes that lost addresses by it. Not the last page if the home has only a part of it: to a longer file it would be of
   * no use, and to one of the same length its neighbour's hint leads.
   */
  claim(
    home: HomeRecord<File, HomeFile>,
    extents: ExtentList,
    takesOver: boolean,
  ): { sharers: Set<string>; homes: Set<HomeRecord<File, HomeFile>> } {
    const sharers = new Set<string>()
    const homes = new Set<HomeRecord<File, HomeFile>>()
    const mayReplace = (owner: HomeRecord<File, HomeFile> | Sharer) => {
      if (!(owner instanceof HomeRecord)) sharers.add(owner.key)
      else if (takesOver) homes.add(owner)
      else return false
      return true
    }
    for (let i = 0; i < extents.count; i++) {
      const length = wholeLength(home, extents, i)
      const physical = extents.physical[i]!
      if (length > 0) this.#index.set(physical, physical + length, home, extents.logical[i]!, mayReplace)
    }
    return { sharers, homes }
  }

  deleteHome(home: HomeRecord<File, HomeFile>): void {
    this.#index.delete(home)
  }

  /** Is every address in `extents`, which are the home's, known as its own or as another home's, and nothing else as its own? */
  isCurrent(home: HomeRecord<File, HomeFile>, extents: ExtentList): boolean {
    let own = 0
    for (let i = 0; i < extents.count; i++) {
      const length = wholeLength(home, extents, i)
      const physical = extents.physical[i]!
      let known = 0
      this.#index.visit(physical, physical + length, (owner, start, end, offset) => {
        const isOwn = owner === home && offset === extents.logical[i]! + (start - physical)
        if (isOwn) own += end - start
        if (isOwn || (owner !== home && owner instanceof HomeRecord)) known += end - start
      })
      if (known !== length) return false
    }
    return own === this.#index.bytesOf(home)
  }

  /** Remembers the addresses in `extents` that nobody has as those of the file `key`. Returns keys of sharers forgotten for it. */
  addSharer(key: string, extents: ExtentList): string[] {
    this.deleteSharer(key)
    let spans = 0
    for (let i = 0; i < extents.count; i++) if (isShareable(extents.flags[i]!)) spans++
    const sharer: Sharer = { key, spans }
    for (let i = 0; i < extents.count; i++) {
      if (!isShareable(extents.flags[i]!)) continue
      const physical = extents.physical[i]!
      this.#index.set(physical, physical + extents.length[i]!, sharer, extents.logical[i]!, () => false)
    }
    this.#sharers.set(key, sharer)
    this.#sharerSpans += spans
    const forgotten: string[] = []
    while (this.#sharerSpans > this.#sharerSpansMax && this.#sharers.size > 1) {
      const oldest = this.#sharers.keys().next().value!
      this.deleteSharer(oldest)
      forgotten.push(oldest)
    }
    return forgotten
  }

  deleteSharer(key: string): void {
    const sharer = this.#sharers.get(key)
    if (sharer === undefined) return
    this.#sharers.delete(key)
    this.#sharerSpans -= sharer.spans
    this.#index.delete(sharer)
  }

  /** `homes` are all homes of this domain that are not gone. */
  checkInvariants(homes: ReadonlySet<HomeRecord<File, HomeFile>>): void {
    this.#index.checkInvariants()
    let spans = 0
    for (const sharer of this.#sharers.values()) spans += sharer.spans
    if (spans !== this.#sharerSpans) throw new Error(`first sharers have ${spans} spans, not ${this.#sharerSpans}`)
    for (const owner of this.#index.owners) {
      const isKnown = owner instanceof HomeRecord ? homes.has(owner) : this.#sharers.get(owner.key) === owner
      if (!isKnown)
        throw new Error(`the index knows ${owner instanceof HomeRecord ? owner : owner.key}, nobody else does`)
    }
  }
}

/** Bytes of a home's extent that can be hinted at: those in whole pages of the home, at an address that means something. */
function wholeLength(home: { readonly size: number }, extents: ExtentList, index: number): number {
  if (!isAddressable(extents.flags[index]!)) return 0
  const end = Math.min(extents.end(index), Math.floor(home.size / PAGE_BYTES) * PAGE_BYTES)
  return Math.max(0, end - extents.logical[index]!)
}
