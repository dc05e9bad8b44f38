/**
 * A simulated file system: files of *units* that lie in blocks, copied on write, with all that makes addresses treacherous.
 *
 * A unit is the block size of the file system; pages are one or two units. A unit's content is one number, 0 for zeros:
 * numbers are compared where bytes would be. Everything here happens at once; what takes time is an actor's affair.
 */
import { ExtentFlag, type ExtentList } from '../storage/extents.ts'
import type { Random } from './random.ts'

/** What a file system promises of addresses; see proof.ts. */
export interface Promises {
  readonly name: string
  /** Freed blocks are reused only after a commit, which moves the counter. */
  readonly countsReuse: boolean
  /** Homes stay where they are. */
  readonly homesStay: boolean
  /** A file that was moved off a block does not come back to it. */
  readonly filesDoNotReturn: boolean
  /** A block that only one file refers to is overwritten in place. */
  readonly writesInPlace: boolean
}

export const PROMISES: readonly Promises[] = [
  { name: 'btrfs', countsReuse: true, homesStay: false, filesDoNotReturn: false, writesInPlace: false },
  { name: 'xfs', countsReuse: false, homesStay: true, filesDoNotReturn: false, writesInPlace: true },
  { name: 'neither', countsReuse: false, homesStay: false, filesDoNotReturn: true, writesInPlace: true },
]

interface Block {
  /** In units; 0 for a place among metadata. */
  readonly address: number
  /** One value, or several for a compressed block, each unit of it a part. */
  readonly parts: number[]
  refs: number
}

/** Where a unit's content lies. */
interface Place {
  readonly block: Block
  readonly part: number
  readonly flags: number
}

/** A value, or a size, and the step since which it holds. */
interface Since {
  readonly step: number
  readonly value: number
}

/** {@link SimFile.history} of a unit that is beyond the end. */
const BEYOND = -1

export class SimFile {
  readonly name: string
  readonly isHome: boolean
  sizeBytes = 0
  readonly places: (Place | undefined)[] = []
  /** Contents that are not on the device yet, by unit. */
  readonly dirty = new Map<number, number>()
  /** Units that a shared mapping can store to without the file system's noticing. */
  readonly mapped = new Set<number>()
  ctimeNs = 0
  nlink = 1
  /** Descriptors open for writing, and shared writable mappings. */
  writers = 0
  /** Who keeps a deleted file alive: readers, and who clones from it. */
  opens = 0
  isGone = false
  /** What each unit held, and since when. */
  readonly history: Since[][] = []
  readonly sizes: Since[] = []
  /** Addresses that a unit has been at. */
  readonly visited: Set<number>[] = []

  constructor(name: string, isHome: boolean) {
    this.name = name
    this.isHome = isHome
  }
}

/**
 * Invariants (restated by {@link checkInvariants}): a block's refs are the places that name it; no address is both used and
 * free, or free twice; a home's content is what it was when the home was made.
 */
export class Volume {
  readonly unitBytes: number
  readonly promises: Promises
  readonly random: Random
  /** Now, in virtual nanoseconds. */
  nowNs = 1e15
  /** The step that the histories are to be stamped with. */
  step = 0
  reuseCounter = 1
  /** All files and homes that are not gone. */
  readonly files = new Set<SimFile>()
  /** Does every extent request flush dirty data first? (FIEMAP_FLAG_SYNC) */
  flushesForExtents = true
  readonly #granuleNs: number
  readonly #free: number[] = []
  /** Freed, and not to be reused before the next commit. */
  readonly #freedUncommitted: number[] = []
  readonly #frozen = new Map<SimFile, number[]>()
  #nextAddress = 1
  #lastValue = 1000
  #lastCtimeNs = 0

  constructor(random: Random, promises: Promises, unitBytes: number, granuleNs: number) {
    this.random = random
    this.promises = promises
    this.unitBytes = unitBytes
    this.#granuleNs = granuleNs
  }

  /** A content that no unit ever had, or, for deduplication to find, one of a few. */
  freshValue(): number {
    return this.random.chance(0.1) ? this.random.between(1, 3) : ++this.#lastValue
  }

  unitCount(file: SimFile): number {
    return Math.ceil(file.sizeBytes / this.unitBytes)
  }

  value(file: SimFile, unit: number): number {
    if (unit >= this.unitCount(file)) return BEYOND
    const dirty = file.dirty.get(unit)
    if (dirty !== undefined) return dirty
    const place = file.places[unit]
    return place === undefined || (place.flags & ExtentFlag.UNWRITTEN) !== 0 ? 0 : place.block.parts[place.part]!
  }

  // ---- files

  create(name: string, units: number): SimFile {
    const file = new SimFile(name, false)
    this.files.add(file)
    this.stampCtime(file)
    this.setSize(file, units * this.unitBytes)
    return file
  }

  /** A clone; atomic, dirty data included. */
  clone(from: SimFile, name: string, isHome: boolean): SimFile {
    this.flush(from)
    const file = new SimFile(name, isHome)
    this.files.add(file)
    this.stampCtime(file)
    this.setSize(file, from.sizeBytes)
    for (const [unit, place] of from.places.entries()) if (place !== undefined) this.#refer(file, unit, place)
    this.record(file)
    if (isHome) this.#frozen.set(file, this.#contents(file))
    return file
  }

  /** Makes units of `to` those of `from`. */
  cloneRange(from: SimFile, fromUnit: number, to: SimFile, toUnit: number, count: number): void {
    this.flush(from)
    this.flush(to)
    const places = from.places.slice(fromUnit, fromUnit + count)
    for (const [i, place] of places.entries()) {
      if (place !== undefined && (place.flags & ExtentFlag.INLINE) !== 0) continue
      this.#release(to, toUnit + i)
      if (place !== undefined) this.#refer(to, toUnit + i, place)
    }
    this.record(to)
  }

  /** Removes the name; the file goes when nobody has it open. */
  unlink(file: SimFile): void {
    file.nlink = 0
    this.stampCtime(file)
    this.reap(file)
  }

  reap(file: SimFile): void {
    if (file.nlink > 0 || file.opens > 0 || file.writers > 0 || file.isGone) return
    for (const unit of file.places.keys()) this.#release(file, unit)
    file.isGone = true
    this.files.delete(file)
    this.#frozen.delete(file)
  }

  dropHome(home: SimFile): void {
    home.nlink = 0
    home.opens = 0
    this.reap(home)
  }

  /** Coarse clocks give the same ctime to all changes of one granule; fine ones never give one twice. */
  stampCtime(file: SimFile): void {
    this.#lastCtimeNs =
      this.#granuleNs > 0
        ? Math.floor(this.nowNs / this.#granuleNs) * this.#granuleNs
        : Math.max(this.nowNs, this.#lastCtimeNs + 1)
    file.ctimeNs = Math.max(file.ctimeNs, this.#lastCtimeNs)
  }

  /** A size that is no multiple of units zeroes the rest of the last one, which is a change of its content. */
  setSize(file: SimFile, sizeBytes: number): void {
    const isCut = sizeBytes < file.sizeBytes && sizeBytes % this.unitBytes !== 0
    file.sizeBytes = sizeBytes
    const units = this.unitCount(file)
    for (const unit of [...file.dirty.keys()]) if (unit >= units) file.dirty.delete(unit)
    for (let unit = units; unit < file.places.length; unit++) this.#release(file, unit)
    file.places.length = units
    if (isCut && this.value(file, units - 1) !== 0) file.dirty.set(units - 1, this.freshValue())
    this.record(file)
  }

  /** Puts a new content into a unit of the page cache. */
  writeCached(file: SimFile, unit: number, value: number): void {
    if (unit >= this.unitCount(file)) return
    file.dirty.set(unit, value)
    this.record(file)
  }

  /** Puts a new content on the device at once. */
  writeDirect(file: SimFile, unit: number, value: number): void {
    if (unit >= this.unitCount(file)) return
    file.dirty.delete(unit)
    this.#store(file, unit, value)
    this.record(file)
  }

  punchHole(file: SimFile, unit: number): void {
    file.dirty.delete(unit)
    this.#release(file, unit)
    this.record(file)
  }

  /** Gives a hole a block that reads as zeros and holds whatever it held. */
  preallocate(file: SimFile, unit: number): void {
    if (unit >= this.unitCount(file) || file.places[unit] !== undefined) return
    const block = this.#allocate(file, unit)
    block.parts[0] = this.freshValue()
    this.#refer(file, unit, { block, part: 0, flags: ExtentFlag.UNWRITTEN })
  }

  /** Puts two units into one compressed block. */
  compress(file: SimFile, unit: number): void {
    this.flush(file)
    const values = [this.value(file, unit), this.value(file, unit + 1)]
    if (values.includes(BEYOND)) return
    const block = this.#allocate(file, unit)
    block.parts.splice(0, 2, ...values)
    for (const part of [0, 1]) {
      this.#release(file, unit + part)
      this.#refer(file, unit + part, { block, part, flags: ExtentFlag.ENCODED })
    }
  }

  /** Puts a unit among metadata: it has no address that means anything. */
  makeInline(file: SimFile, unit: number): void {
    this.flush(file)
    const value = this.value(file, unit)
    if (value === BEYOND) return
    this.#release(file, unit)
    const block = { address: 0, parts: [value], refs: 0 }
    this.#refer(file, unit, { block, part: 0, flags: ExtentFlag.INLINE | ExtentFlag.NOT_ALIGNED })
  }

  flush(file: SimFile): void {
    for (const [unit, value] of file.dirty) this.#store(file, unit, value)
    file.dirty.clear()
    file.mapped.clear()
  }

  /** The extent of one unit as FIEMAP tells it, added to `out`. */
  extentOf(file: SimFile, unit: number, startByte: number, endByte: number, out: ExtentList): void {
    const place = file.places[unit]
    if (place === undefined) return
    const isDelayed = file.dirty.has(unit) && (place.flags & ExtentFlag.UNWRITTEN) !== 0
    const flags = place.flags | (place.block.refs > 1 ? ExtentFlag.SHARED : 0) | (isDelayed ? ExtentFlag.DELALLOC : 0)
    const { unitBytes } = this
    out.appendClipped(unit * unitBytes, place.block.address * unitBytes, unitBytes, flags, startByte, endByte)
  }

  // ---- blocks that move; nothing of this changes a ctime or a content

  /** Makes a unit share another's block, if their contents on the device are equal. */
  dedupe(file: SimFile, unit: number, other: SimFile, otherUnit: number): boolean {
    const [mine, theirs] = [this.plainBlock(file, unit), this.plainBlock(other, otherUnit)]
    if (mine === undefined || theirs === undefined || mine === theirs) return false
    if (mine.parts[0] !== theirs.parts[0] || !this.#mayMove(file, unit, theirs.address)) return false
    this.#release(file, unit)
    this.#refer(file, unit, { block: theirs, part: 0, flags: 0 })
    return true
  }

  /** Defragmentation: gives one file's unit a block of its own. */
  moveUnit(file: SimFile, unit: number): void {
    const block = this.plainBlock(file, unit)
    if (block === undefined || (file.isHome && this.promises.homesStay)) return
    const moved = this.#allocate(file, unit)
    moved.parts[0] = block.parts[0]!
    this.#release(file, unit)
    this.#refer(file, unit, { block: moved, part: 0, flags: 0 })
  }

  /** Balancing: moves a block with all its references; to `address` if that is free, else anywhere. False if it may not. */
  relocate(block: Block, address?: number): boolean {
    const users = [...this.#usersOf(block)]
    if (users.length === 0 || (this.promises.homesStay && users.some(([file]) => file.isHome))) return false
    if (address !== undefined) {
      const at = this.#free.indexOf(address)
      if (at < 0 || users.some(([file, unit]) => !this.#mayMove(file, unit, address))) return false
      this.#free.splice(at, 1)
    }
    const moved = address === undefined ? this.#allocate(...users[0]!) : { address, parts: [...block.parts], refs: 0 }
    moved.parts.splice(0, moved.parts.length, ...block.parts)
    if (address === undefined && users.some(([file, unit]) => !this.#mayMove(file, unit, moved.address))) {
      this.#free.push(moved.address)
      return false
    }
    for (const [file, unit] of users) {
      const { part, flags } = file.places[unit]!
      this.#release(file, unit)
      this.#refer(file, unit, { block: moved, part, flags })
    }
    return true
  }

  /** From now on freed blocks may be reused. */
  commit(): void {
    this.reuseCounter++
    this.#free.push(...this.#freedUncommitted.splice(0))
  }

  /** The block of a unit whose content is on the device, uncompressed, alone in the block. */
  plainBlock(file: SimFile, unit: number): Block | undefined {
    const place = file.places[unit]
    return place === undefined || place.flags !== 0 || file.dirty.has(unit) ? undefined : place.block
  }

  // ---- histories

  /** Notes what the file holds now, where it changed. */
  record(file: SimFile): void {
    const units = Math.max(this.unitCount(file), file.history.length)
    for (let unit = 0; unit < units; unit++) {
      file.history[unit] ??= []
      note(file.history[unit]!, this.step, this.value(file, unit))
    }
    note(file.sizes, this.step, file.sizeBytes)
  }

  /** Did the unit hold `value` at some moment from step `from` on? */
  held(file: SimFile, unit: number, value: number, from: number): boolean {
    return heldSince(file.history[unit] ?? [], value, from)
  }

  /** What the unit held after the step. */
  valueAt(file: SimFile, unit: number, step: number): number {
    return (file.history[unit] ?? []).findLast((since) => since.step <= step)?.value ?? BEYOND
  }

  /** The step `from`, and all later ones in which the file changed. */
  momentsSince(file: SimFile, from: number): number[] {
    const changes = file.history.flat().map((since) => since.step)
    return [from, ...new Set(changes.filter((step) => step > from))]
  }

  hadSize(file: SimFile, sizeBytes: number, from: number): boolean {
    return heldSince(file.sizes, sizeBytes, from)
  }

  get homes(): SimFile[] {
    return [...this.files].filter((file) => file.isHome)
  }

  checkInvariants(): void {
    const refs = new Map<Block, number>()
    for (const file of this.files) {
      for (const place of file.places) if (place !== undefined) refs.set(place.block, (refs.get(place.block) ?? 0) + 1)
    }
    const used = new Set<number>()
    for (const [block, count] of refs) {
      if (block.refs !== count) throw new Error(`block ${block.address} has ${count} references, not ${block.refs}`)
      if (block.address !== 0 && used.has(block.address)) throw new Error(`two blocks at ${block.address}`)
      used.add(block.address)
    }
    const free = [...this.#free, ...this.#freedUncommitted]
    if (new Set(free).size !== free.length) throw new Error('an address is free twice')
    for (const address of free) if (used.has(address)) throw new Error(`address ${address} is used and free`)
    for (const [home, contents] of this.#frozen) {
      const now = this.#contents(home)
      if (now.some((value, unit) => value !== contents[unit]))
        throw new Error(`${home.name} held ${contents}, now ${now}`)
    }
  }

  toString(): string {
    return [...this.files]
      .map((file) => {
        const units = file.places.map((place, unit) => {
          const at = place === undefined ? 'hole' : `@${place.block.address}${place.block.refs > 1 ? 's' : ''}`
          return `${this.value(file, unit)}${at}${file.dirty.has(unit) ? '*' : ''}`
        })
        return `  ${file.name} (${file.sizeBytes} bytes, ctime ${file.ctimeNs}): ${units.join(' ')}`
      })
      .join('\n')
  }

  #contents(file: SimFile): number[] {
    return Array.from({ length: this.unitCount(file) }, (_, unit) => this.value(file, unit))
  }

  *#usersOf(block: Block): Generator<[file: SimFile, unit: number]> {
    for (const file of this.files) {
      for (const [unit, place] of file.places.entries()) if (place?.block === block) yield [file, unit]
    }
  }

  #store(file: SimFile, unit: number, value: number): void {
    const place = file.places[unit]
    const isFresh = place !== undefined && (place.flags & ExtentFlag.UNWRITTEN) !== 0
    const mayOverwrite = place !== undefined && (place.flags === 0 ? this.promises.writesInPlace : isFresh)
    if (mayOverwrite && place.block.refs === 1) {
      place.block.parts[0] = value
      file.places[unit] = { block: place.block, part: 0, flags: 0 }
      return
    }
    const block = this.#allocate(file, unit)
    block.parts[0] = value
    this.#release(file, unit)
    this.#refer(file, unit, { block, part: 0, flags: 0 })
  }

  #mayMove(file: SimFile, unit: number, address: number): boolean {
    if (file.isHome) return !this.promises.homesStay
    return !(this.promises.filesDoNotReturn && file.visited[unit]?.has(address))
  }

  /** The block freed last is reused first: nothing is as treacherous. Now and then any other. */
  #allocate(file: SimFile, unit: number): Block {
    const usable = this.#free.filter((address) => file.isHome || this.#mayMove(file, unit, address))
    const address = this.random.chance(0.8) ? usable.at(-1) : usable[this.random.below(usable.length || 1)]
    if (address === undefined) return { address: this.#nextAddress++, parts: [0], refs: 0 }
    this.#free.splice(this.#free.indexOf(address), 1)
    return { address, parts: [0], refs: 0 }
  }

  #refer(file: SimFile, unit: number, place: Place): void {
    if (file.isGone) throw new Error(`${file.name} is changed, and nobody has it any more`)
    place.block.refs++
    file.places[unit] = place
    file.visited[unit] ??= new Set()
    file.visited[unit]!.add(place.block.address)
  }

  #release(file: SimFile, unit: number): void {
    const place = file.places[unit]
    file.places[unit] = undefined
    if (place === undefined || --place.block.refs > 0 || place.block.address === 0) return
    if (this.promises.countsReuse) this.#freedUncommitted.push(place.block.address)
    else this.#free.push(place.block.address)
  }
}

function note(history: Since[], step: number, value: number): void {
  if (history.at(-1)?.value !== value) history.push({ step, value })
}

/** A value holds until the step at which the next one begins, that step included: what came first in it is not told. */
function heldSince(history: readonly Since[], value: number, from: number): boolean {
  for (let i = history.length - 1; i >= 0; i--) {
    if (history[i]!.value === value) return true
    if (history[i]!.step < from) return false
  }
  return false
}
