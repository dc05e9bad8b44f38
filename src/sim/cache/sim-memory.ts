/**
 * Memory that several processors share, and what each of them can see of it: the simulation's model of hardware under the engine.
 *
 * A store waits in its processor's buffer until it is *committed*, which everybody sees from then on; each word remembers what was committed to it. A load takes one
 * of the values that a word has had since the load may have been done:
 *
 * - `x86`: stores are committed in order, atomic ones at once; a load sees what is there now.
 * - `arm`: plain stores are committed in any order, also before an atomic store that precedes them; an atomic store comes after all that precedes it, and before the next
 *   atomic load of its processor. A load may have been done long ago, or late: plain ones not before the last atomic load (which acquires), not before a load that tells
 *   their address, and never backwards in one word; atomic ones not before the atomic operation that precedes them. One that also writes is done now, and all before it.
 *
 * That is ARM's model as V8 uses it (`ldar`, `stlr`), with addresses that depend on loads; ECMAScript promises less: not even that dependence.
 */
import type { Random } from '../random.ts'

export type Order = 'x86' | 'arm'

/** A buffer that is simulated. */
export interface Region {
  /** Address of its first word. */
  readonly base: number
  readonly words: number
  /** Words of a record are 2^recordBits; they lie together, so their addresses come from the same load. */
  readonly recordBits: number
  /** Addresses in a region come from loads in regions above it, or in other records of the same: -1: from no load. */
  readonly rank: number
  /** Whether the word at that place of a record tells addresses. */
  readonly leads: (index: number) => boolean
}

/** What was committed to a word, oldest first. */
interface History {
  readonly times: number[]
  readonly values: number[]
}

/** {@link Region.rank} of nodes. */
export const NODES_RANK = 1
/** And of what windows show: its addresses come from no load. */
export const WINDOWS_RANK = -2

const HISTORY_MAX = 12

export class SimMemory {
  readonly order: Order
  /** Commits so far. */
  time = 0
  readonly #words: number[] = []
  readonly #histories: (History | undefined)[] = []
  /** By address. */
  readonly #regions: Region[] = []

  constructor(order: Order) {
    this.order = order
  }

  add(words: number, recordBits: number, rank: number, leads: (index: number) => boolean = () => false): Region {
    const region = { base: this.#words.length, words, recordBits, rank, leads }
    for (let i = 0; i < words; i++) {
      this.#words.push(0)
      this.#regions.push(region)
    }
    return region
  }

  regionOf(address: number): Region {
    return this.#regions[address]!
  }

  /** Whether the word is one of a node. */
  isNode(address: number): boolean {
    return this.regionOf(address).rank === NODES_RANK
  }

  /** What everybody can see now. */
  get(address: number): number {
    return this.#words[address]!
  }

  isWindow(address: number): boolean {
    return this.regionOf(address).rank === WINDOWS_RANK
  }

  history(address: number): History | undefined {
    return this.#histories[address]
  }

  commit(address: number, value: number): void {
    let history = this.#histories[address]
    if (history === undefined) {
      history = { times: [0], values: [this.#words[address]!] }
      this.#histories[address] = history
    }
    history.times.push(++this.time)
    history.values.push(value)
    if (history.times.length > HISTORY_MAX) {
      history.times.shift()
      history.values.shift()
    }
    this.#words[address] = value
  }
}

interface Store {
  readonly address: number
  readonly value: number
  readonly isAtomic: boolean
}

const BUFFER_MAX = 24

/** One thread's way to the memory. */
export class Processor {
  readonly #memory: SimMemory
  readonly #random: Random
  /** Probability that a load is not done now. */
  readonly #staleness: number
  readonly #isWeak: boolean
  #buffer: Store[] = []
  #isInIndex = false
  /** No plain load is done before this. */
  #acquired = 0
  /** No atomic load is done before this. */
  #ordered = 0
  /** By word: when that was committed which was seen last. */
  readonly #seen = new Map<number, number>()
  /** The record of the last load, and its rank. */
  #record = -1
  #rank = -1
  /** When the loads were done that tell addresses: in this record, and above it. */
  #reached = 0
  #base = 0

  constructor(memory: SimMemory, random: Random, staleness: number) {
    this.#memory = memory
    this.#random = random
    this.#staleness = staleness
    this.#isWeak = memory.order === 'arm'
  }

  /** Whether the last load was one of a node: each atomic one, for what is found that way has no owner to ask, and some of the others; or of a window, which nobody asks either. */
  get isInIndex(): boolean {
    return this.#isInIndex
  }

  /** Something has told the thread what time it is: a message. */
  synchronize(): void {
    this.#acquired = this.#ordered = this.#memory.time
    this.#base = this.#reached = 0
    this.#record = this.#rank = -1
    this.#seen.clear()
  }

  load(address: number): number {
    const pauses = this.#memory.isWindow(address) ? 0.5 : this.#memory.isNode(address) ? 0.15 : 0
    this.#isInIndex = pauses > 0 && this.#random.chance(pauses)
    return this.#own(address)?.value ?? (this.#isWeak ? this.#loadSome(address, false) : this.#memory.get(address))
  }

  loadAtomic(address: number): number {
    this.#isInIndex = this.#memory.isNode(address)
    this.#commitUpTo(this.#buffer.findLastIndex((store) => store.isAtomic || store.address === address))
    return this.#isWeak ? this.#loadSome(address, true) : this.#memory.get(address)
  }

  store(address: number, value: number): void {
    this.#buffer.push({ address, value, isAtomic: false })
    if (this.#buffer.length > BUFFER_MAX) this.#commitUpTo(0)
  }

  storeAtomic(address: number, value: number): void {
    this.#buffer.push({ address, value, isAtomic: true })
    if (!this.#isWeak || this.#buffer.length > BUFFER_MAX) this.flush()
  }

  /** An atomic operation that loads and stores; returns what was there. */
  change(address: number, to: (before: number) => number): number {
    this.flush()
    const before = this.#memory.get(address)
    this.#commit(address, to(before))
    this.#acquired = this.#ordered = this.#memory.time
    return before
  }

  /** What this thread itself takes to be there; takes no time. */
  peek(address: number): number {
    return this.#own(address)?.value ?? this.#memory.get(address)
  }

  /** Some of the stores that wait are committed, perhaps. */
  drain(): void {
    const buffer = this.#buffer
    while (buffer.length > 0 && this.#random.chance(0.3)) {
      const at = this.#isWeak ? this.#random.below(buffer.length) : 0
      const { address, isAtomic } = buffer[at]!
      const isFirst = at === 0 || (!isAtomic && !buffer.slice(0, at).some((store) => store.address === address))
      if (isFirst) this.#take(at)
    }
  }

  flush(): void {
    this.#commitUpTo(this.#buffer.length - 1)
  }

  #own(address: number): Store | undefined {
    return this.#buffer.length === 0 ? undefined : this.#buffer.findLast((store) => store.address === address)
  }

  #commitUpTo(last: number): void {
    for (let i = 0; i <= last; i++) this.#take(0)
  }

  #take(at: number): void {
    const [store] = this.#buffer.splice(at, 1)
    this.#commit(store!.address, store!.value)
    if (store!.isAtomic) this.#ordered = this.#memory.time
  }

  #commit(address: number, value: number): void {
    this.#memory.commit(address, value)
    this.#seen.set(address, this.#memory.time)
  }

  #loadSome(address: number, isAtomic: boolean): number {
    const region = this.#memory.regionOf(address)
    if (region.rank >= 0) this.#follow(region, address)
    const earliest = Math.max(
      isAtomic ? this.#ordered : this.#acquired,
      region.rank >= 0 ? this.#base : 0,
      this.#seen.get(address) ?? 0,
    )
    const history = this.#memory.history(address)
    let done = earliest
    let value = this.#memory.get(address)
    if (history !== undefined) {
      const { times, values } = history
      let at = times.length - 1
      if (this.#random.chance(this.#staleness)) while (at > 0 && times[at]! > earliest && this.#random.chance(0.6)) at--
      done = Math.max(earliest, times[at]!)
      value = values[at]!
      this.#seen.set(address, times[at]!)
    }
    if (isAtomic) this.#acquired = this.#ordered = Math.max(this.#ordered, done)
    if (region.rank >= 0 && region.leads(address - region.base)) this.#reached = Math.max(this.#reached, done)
    return value
  }

  /** On the way down an address comes from what was loaded above; elsewhere from nothing. */
  #follow(region: Region, address: number): void {
    const record = region.base + ((address - region.base) >>> region.recordBits)
    if (record === this.#record && region.rank === this.#rank) return
    const isBelow = region.rank > this.#rank || (region.rank === this.#rank && region.leads(0))
    if (!isBelow) this.#reached = 0
    this.#base = this.#reached
    this.#record = record
    this.#rank = region.rank
  }
}
