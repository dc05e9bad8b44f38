/**
 * Which file uses which pages of a file system, before anything is shared: the ground that dedupe works on.
 *
 * - *stored page*: 4096 bytes of the device that a file shows as one of its pages, numbered 0 … in the order of addresses. Pages that files share already are
 *   one stored page. The last page of a file, if it is not a whole one, is another stored page than a whole one at the same address would be.
 * - *use*: a run of pages of one file that lies in one run on the device, hence in one run of stored pages.
 *
 * Memory: 29 bytes a use, about 100 a file.
 *
 * Invariants: files come one after the other, the uses of a file in file order; they do not overlap in the file.
 */
import { makeRoom, withRoom } from '../inspect/columns.ts'
import { joinPath } from '../inspect/directories.ts'
import { ascendingOrder } from '../inspect/order.ts'
import { PAGE_BYTES } from '../util/page.ts'

const CAPACITY_MIN = 64
/** Keeps the addresses, in pages, of files' last pages apart from others: no device is that large. */
const TAIL_SPACE = 2 ** 40

/** What is known about a file. */
interface FileFacts {
  /** Index in {@link FileUses.directories}. */
  directory: number
  name: string
  /** See deviceNumber; with `ino` it identifies the file. */
  device: number
  ino: number
  /** Bytes. */
  size: number
  /** Files of different domains are never made to share. */
  domain: number
}

export class FileUses {
  /** Paths. May be those of several file systems. */
  readonly directories: readonly string[]

  fileCount = 0
  readonly name: string[] = []
  directory = new Uint32Array(CAPACITY_MIN)
  device = new Float64Array(CAPACITY_MIN)
  ino = new Float64Array(CAPACITY_MIN)
  size = new Float64Array(CAPACITY_MIN)
  domain = new Uint32Array(CAPACITY_MIN)
  /** The uses of a file are [firstUse, endUse). */
  firstUse = new Uint32Array(CAPACITY_MIN)
  endUse = new Uint32Array(CAPACITY_MIN)
  /** Pages that others use too, as the file system says: some of them perhaps outside of what we look at. */
  sharedPages = new Float64Array(CAPACITY_MIN)

  useCount = 0
  file = new Uint32Array(CAPACITY_MIN)
  /** Index in the file, of the first page: beyond 16 TiB more than 32 bits. */
  page = new Float64Array(CAPACITY_MIN)
  pages = new Uint32Array(CAPACITY_MIN)
  /** Stored page of the first page, after {@link number}. */
  stored = new Uint32Array(CAPACITY_MIN)
  /** 1 if the file system calls it shared. */
  isShared = new Uint8Array(CAPACITY_MIN)
  /**
   * Stored pages that lie where another one does, after {@link number}, and which: files' last pages that are not whole, at the address of a page that is, or of another file's
   * last one. They have one place on the device.
   */
  readonly sameAs = new Map<number, number>()
  /** On the device, in pages; see TAIL_SPACE. */
  #address = new Float64Array(CAPACITY_MIN)

  constructor(directories: readonly string[] = []) {
    this.directories = directories
  }

  addFile(facts: FileFacts): number {
    const at = this.fileCount++
    if (at === this.directory.length) this.#growFiles(at)
    this.name.push(facts.name)
    this.directory[at] = facts.directory
    this.device[at] = facts.device
    this.ino[at] = facts.ino
    this.size[at] = facts.size
    this.domain[at] = facts.domain
    this.firstUse[at] = this.endUse[at] = this.useCount
    return at
  }

  /**
   * Adds a run of the file that was added last: [start, end) of the file lies at `address` of the device. In bytes, whole pages but for the file's end.
   */
  addUse(start: number, end: number, address: number, isShared: boolean): void {
    const file = this.fileCount - 1
    const whole = Math.floor((end - start) / PAGE_BYTES)
    const tail = (end - start) % PAGE_BYTES
    this.#add(file, start / PAGE_BYTES, whole, address / PAGE_BYTES, isShared)
    const tailAddress = address / PAGE_BYTES + whole + tail * TAIL_SPACE
    if (tail > 0) this.#add(file, start / PAGE_BYTES + whole, 1, tailAddress, isShared)
    this.endUse[file] = this.useCount
  }

  /** Numbers the stored pages, once, after the last use was added. Returns how many there are. */
  number(): number {
    let count = 0
    let begin = 0
    let end = -1
    let beginStored = 0
    const stretches = new Stretches()
    const tails = new Map<number, number>()
    for (const use of ascendingOrder(this.#address, this.useCount)) {
      const address = this.#address[use]!
      const useEnd = address + this.pages[use]!
      if (address >= end) {
        begin = address
        beginStored = count
        if (address < TAIL_SPACE) stretches.begin(address, count)
      }
      count += Math.max(0, useEnd - Math.max(end, address))
      end = Math.max(end, useEnd)
      const stored = beginStored + (address - begin)
      this.stored[use] = stored
      if (address < TAIL_SPACE) stretches.reachTo(end)
      else {
        // In the order of addresses last pages come after all whole ones.
        const place = address % TAIL_SPACE
        const same = stretches.storedAt(place) ?? tails.get(place)
        if (same === undefined) tails.set(place, stored)
        else if (same !== stored) this.sameAs.set(stored, same)
      }
    }
    return count
  }

  path(file: number): string {
    return joinPath([this.directories[this.directory[file]!]!, this.name[file]!])
  }

  /** The use of `file` that has page `page`; one must. */
  useOf(file: number, page: number): number {
    let low = this.firstUse[file]!
    let high = this.endUse[file]! - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.page[middle]! <= page) low = middle
      else high = middle - 1
    }
    return low
  }

  #add(file: number, page: number, pages: number, address: number, isShared: boolean): void {
    if (pages === 0) return
    if (isShared) this.sharedPages[file]! += pages
    const at = this.useCount++
    if (at === this.file.length) this.#growUses(at)
    this.file[at] = file
    this.page[at] = page
    this.pages[at] = pages
    this.#address[at] = address
    this.isShared[at] = isShared ? 1 : 0
  }

  #growFiles(index: number): void {
    makeRoom(this, index, 'directory', 'device', 'ino', 'size', 'domain', 'firstUse', 'endUse', 'sharedPages')
  }

  #growUses(index: number): void {
    makeRoom(this, index, 'file', 'page', 'pages', 'stored', 'isShared')
    this.#address = withRoom(this.#address, index)
  }
}

/** Stretches of stored pages that lie side by side on the device, in the order of addresses (in pages). */
class Stretches {
  readonly #begins: number[] = []
  readonly #ends: number[] = []
  readonly #stored: number[] = []

  /** A stretch begins; `stored` is the number of its first page. */
  begin(address: number, stored: number): void {
    this.#begins.push(address)
    this.#ends.push(address)
    this.#stored.push(stored)
  }

  /** The last one ends at `address`. */
  reachTo(address: number): void {
    this.#ends[this.#ends.length - 1] = address
  }

  /** The stored page at `address`; undefined where there is none. */
  storedAt(address: number): number | undefined {
    let low = 0
    let high = this.#ends.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#ends[middle]! <= address) low = middle + 1
      else high = middle
    }
    const begin = this.#begins[low]
    return begin === undefined || begin > address ? undefined : this.#stored[low]! + (address - begin)
  }
}

/** A page of a file, which can be moved along. */
export class Position {
  readonly #uses: FileUses
  use: number
  /** From the beginning of the use. */
  #offset: number

  constructor(uses: FileUses, use: number, offset: number) {
    this.#uses = uses
    this.use = use
    this.#offset = offset
  }

  /** Index in the file. */
  get page(): number {
    return this.#uses.page[this.use]! + this.#offset
  }
  get stored(): number {
    return this.#uses.stored[this.use]! + this.#offset
  }

  copy(): Position {
    return new Position(this.#uses, this.use, this.#offset)
  }

  /** On to the next page that is stored, over holes, and at last to the end: `use` is then the file's endUse. */
  step(): void {
    if (++this.#offset < this.#uses.pages[this.use]!) return
    this.use++
    this.#offset = 0
  }

  /** On to the very next page of the file; false, and no move, if that is in a hole or behind the end. */
  forward(): boolean {
    const uses = this.#uses
    if (this.#offset + 1 < uses.pages[this.use]!) this.#offset++
    else {
      const next = this.use + 1
      if (next === uses.useCount || uses.file[next] !== uses.file[this.use] || uses.page[next] !== this.page + 1)
        return false
      this.use = next
      this.#offset = 0
    }
    return true
  }

  /** Back to the very page before; false, and no move, if that is in a hole or before the beginning. */
  back(): boolean {
    const uses = this.#uses
    if (this.#offset > 0) this.#offset--
    else {
      const before = this.use - 1
      if (before < 0 || uses.file[before] !== uses.file[this.use]) return false
      const last = uses.pages[before]! - 1
      if (uses.page[before]! + last !== this.page - 1) return false
      this.use = before
      this.#offset = last
    }
    return true
  }
}
