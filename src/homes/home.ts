/** Homes, and the table that gives them their numbers. */
import type { Member } from './members.ts'

/**
 * - `making`: its clone is being made, its addresses are claimed. Nobody is served by it yet; who needs it waits.
 * - `live`: files are served by it.
 * - `superseded`: a better home took over its content. Serves whom it served, until they are gone.
 * - `retired`: nobody uses it or can. Its clone is being dropped; then its number is free for another generation.
 *
 * making → live → superseded → retired; a state may be skipped, none is entered twice.
 */
type HomeState = 'making' | 'live' | 'superseded' | 'retired'

export function isServing(home: { readonly state: HomeState }): boolean {
  return home.state === 'live' || home.state === 'superseded'
}

/** A home as its users see it. */
export interface Home<HomeFile> {
  /** A small integer below the limit of homes, used again after the home is gone. */
  readonly number: number
  /** Tells homes apart that had the same number; 1 to 2^30 - 1, then from 1 again. */
  readonly generation: number
  readonly file: HomeFile
  /** Bytes. */
  readonly size: number
  /** Bytes of data, holes not counted. */
  readonly dataBytes: number
  readonly fileSystem: string
  readonly domain: string | number
  readonly state: HomeState
}

/** A home as Families sees it. */
export class HomeRecord<File, HomeFile> implements Home<HomeFile> {
  readonly number: number
  readonly generation: number
  readonly fileSystem: string
  readonly domain: string | number
  /** Key of the file that it was cloned from. */
  readonly maker: string
  /** Had the maker no pages of its own? Otherwise the home may be superseded. */
  readonly isMakerShareable: boolean
  state: HomeState = 'making'
  readonly size: number
  dataBytes = 0
  lastUsedMs: number
  /** When it was last looked where its blocks are. */
  addressesReadMs: number
  /** Files served by it, as far as they are tracked. */
  readonly members = new Map<string, Member<File, HomeFile>>()
  /** Was there a member that is not tracked? Then it is not known whether the family is down to one. */
  hasUntracked = false
  firstMember: string | undefined
  /** Was there ever a second member? */
  wasShared = false
  /** Settles when the home stops being `making`, and again when a retired home's clone is gone. Never rejects. */
  settled: Promise<void> = Promise.resolve()
  #file: HomeFile | undefined

  constructor(
    number: number,
    generation: number,
    place: { readonly fileSystem: string; readonly domain: string | number; readonly key: string },
    size: number,
    isMakerShareable: boolean,
    nowMs: number,
  ) {
    this.number = number
    this.generation = generation
    this.fileSystem = place.fileSystem
    this.domain = place.domain
    this.maker = place.key
    this.size = size
    this.isMakerShareable = isMakerShareable
    this.lastUsedMs = nowMs
    this.addressesReadMs = nowMs
  }

  get file(): HomeFile {
    if (this.#file === undefined) throw new Error(`home ${this.number} has no clone yet`)
    return this.#file
  }

  /** The clone exists: the home can serve. */
  complete(file: HomeFile, dataBytes: number): void {
    this.#file = file
    this.dataBytes = dataBytes
    this.state = 'live'
  }

  toString(): string {
    return `home ${this.number}.${this.generation} ${this.state} of ${this.maker}, ${this.size} bytes, ${this.members.size} members`
  }
}

const GENERATION_END = 2 ** 30

/**
 * Slots for homes: number → home. A slot is free again only when the home's clone is gone, so homes of all states count.
 *
 * Invariants (restated by {@link checkInvariants}): the home in slot n has number n and the slot's generation; a free slot is
 * listed as free exactly once.
 */
export class HomeTable<File, HomeFile> {
  readonly #slots: (HomeRecord<File, HomeFile> | undefined)[]
  readonly #generations: number[]
  /** Numbers of free slots; the next one is the last. */
  readonly #free: number[]

  constructor(limit: number) {
    this.#slots = new Array(limit).fill(undefined)
    this.#generations = new Array(limit).fill(0)
    this.#free = Array.from({ length: limit }, (_, i) => limit - 1 - i)
  }

  get isFull(): boolean {
    return this.#free.length === 0
  }

  get count(): number {
    return this.#slots.length - this.#free.length
  }

  /** Puts a new home into a free slot. */
  add(create: (number: number, generation: number) => HomeRecord<File, HomeFile>): HomeRecord<File, HomeFile> {
    const number = this.#free.pop()
    if (number === undefined) throw new Error('the table of homes is full')
    const generation = (this.#generations[number]! + 1) % GENERATION_END || 1
    this.#generations[number] = generation
    const home = create(number, generation)
    this.#slots[number] = home
    return home
  }

  get(number: number, generation: number): HomeRecord<File, HomeFile> | undefined {
    const home = this.#slots[number]
    return home?.generation === generation ? home : undefined
  }

  delete(home: HomeRecord<File, HomeFile>): void {
    if (this.#slots[home.number] !== home) throw new Error(`${home} is not in the table`)
    this.#slots[home.number] = undefined
    this.#free.push(home.number)
  }

  *[Symbol.iterator](): Iterator<HomeRecord<File, HomeFile>> {
    for (const home of this.#slots) if (home !== undefined) yield home
  }

  checkInvariants(): void {
    const free = new Set(this.#free)
    for (const [number, home] of this.#slots.entries()) {
      const isSound =
        home === undefined
          ? free.has(number)
          : !free.has(number) && home.number === number && home.generation === this.#generations[number]
      if (!isSound) throw new Error(`slot ${number} of the table of homes holds ${home}`)
    }
    if (free.size !== this.#free.length) throw new Error('a slot of the table of homes is free twice')
  }
}
