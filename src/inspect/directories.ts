/**
 * Figures by directory, as columns; each includes everything below.
 *
 * A directory with a file below it that shares storage is kept. Of the others only the PRIVATE_KEPT largest are, by bytes
 * cached and then allocated, so that memory does not grow with the tree: what the rest held is in their parents' figures.
 *
 * Invariants:
 * - the walk's figures of a directory are complete when it is left, and are then added to its parent's;
 * - a directory is forgotten only after all that is below it: in the heap's order nothing below a directory comes after it.
 */
import { makeRoom, withRoom } from './columns.ts'
import type { FileTable } from './files.ts'
import { MinHeap } from './heap.ts'

const CAPACITY_MIN = 64
/** Directories without sharing that are remembered for the report. */
const PRIVATE_KEPT = 4096
/** The parent of a directory that was given as an argument. */
export const NO_DIRECTORY = 0xffffffff

const FREE = 0
const OPEN = 1
const LEFT = 2

export class DirectoryTable {
  readonly #keep: number
  name: string[] = []
  parent = new Uint32Array(CAPACITY_MIN)
  /** Directories above it. */
  depth = new Uint32Array(CAPACITY_MIN)
  /** When its entries last changed, see modifiedAt; NaN if that is of no interest. */
  stamp = new Float64Array(CAPACITY_MIN)
  /** Regular files below, each inode once. */
  files = new Float64Array(CAPACITY_MIN)
  size = new Float64Array(CAPACITY_MIN)
  allocated = new Float64Array(CAPACITY_MIN)
  cached = new Float64Array(CAPACITY_MIN)
  /** Files below that share storage. */
  sharing = new Float64Array(CAPACITY_MIN)
  // From the sweep, by rollUp: see FileTable.
  shared = new Float64Array(CAPACITY_MIN)
  duplicate = new Float64Array(CAPACITY_MIN)
  potential = new Float64Array(CAPACITY_MIN)
  reread = new Float64Array(CAPACITY_MIN)

  #state = new Uint8Array(CAPACITY_MIN)
  #left = new Float64Array(CAPACITY_MIN)
  #leftCount = 0
  #count = 0
  readonly #free: number[] = []
  readonly #private = new MinHeap((a, b) => this.#isLess(a, b))

  constructor(privateKept: number = PRIVATE_KEPT) {
    this.#keep = privateKept
  }

  enter(parent: number, name: string, stamp: number = Number.NaN): number {
    const at = this.#free.pop() ?? this.#append()
    this.name[at] = name
    this.parent[at] = parent
    this.stamp[at] = stamp
    this.depth[at] = parent === NO_DIRECTORY ? 0 : this.depth[parent]! + 1
    this.files[at] = this.size[at] = this.allocated[at] = this.cached[at] = this.sharing[at] = 0
    this.#state[at] = OPEN
    return at
  }

  /** Counts a file that lies directly in `directory`. */
  addFile(directory: number, size: number, allocated: number, cached: number): void {
    this.files[directory]! += 1
    this.size[directory]! += size
    this.allocated[directory]! += allocated
    this.cached[directory]! += cached
  }

  leave(directory: number): void {
    const parent = this.parent[directory]!
    this.#state[directory] = LEFT
    this.#left[directory] = this.#leftCount++
    if (parent !== NO_DIRECTORY) {
      this.files[parent]! += this.files[directory]!
      this.size[parent]! += this.size[directory]!
      this.allocated[parent]! += this.allocated[directory]!
      this.cached[parent]! += this.cached[directory]!
      this.sharing[parent]! += this.sharing[directory]!
    }
    if (parent === NO_DIRECTORY || this.sharing[directory]! > 0) return
    this.#private.push(directory)
    if (this.#private.size > this.#keep) {
      const forgotten = this.#private.pop()!
      this.#state[forgotten] = FREE
      this.name[forgotten] = ''
      this.#free.push(forgotten)
    }
  }

  /** Adds what the sweep found for each file to the directories above it. Once, after the walk. */
  rollUp(files: FileTable): void {
    for (let file = 0; file < files.count; file++) {
      for (let at = files.directory[file]!; at !== NO_DIRECTORY; at = this.parent[at]!) {
        this.shared[at]! += files.shared[file]!
        this.duplicate[at]! += files.duplicate[file]!
        this.potential[at]! += files.potential[file]!
        this.reread[at]! += files.reread[file]!
      }
    }
  }

  /** The directories that were kept. */
  *kept(): Generator<number> {
    for (let at = 0; at < this.#count; at++) if (this.#state[at] !== FREE) yield at
  }

  /** The innermost directory that is `a` or above it, and `b` or above it; NO_DIRECTORY if there is none. */
  common(a: number, b: number): number {
    let [one, other] = [a, b]
    while (one !== other) {
      if (one === NO_DIRECTORY || other === NO_DIRECTORY) return NO_DIRECTORY
      if (this.depth[one]! >= this.depth[other]!) one = this.parent[one]!
      else other = this.parent[other]!
    }
    return one
  }

  path(directory: number): string {
    const parts: string[] = []
    for (let at = directory; at !== NO_DIRECTORY; at = this.parent[at]!) parts.push(this.name[at]!)
    return joinPath(parts.reverse())
  }

  #isLess(a: number, b: number): boolean {
    if (this.cached[a] !== this.cached[b]) return this.cached[a]! < this.cached[b]!
    if (this.allocated[a] !== this.allocated[b]) return this.allocated[a]! < this.allocated[b]!
    // What is below a directory was left before it.
    return this.#left[a]! < this.#left[b]!
  }

  #append(): number {
    const at = this.#count++
    if (at === this.parent.length) {
      makeRoom(
        this,
        at,
        'parent',
        'depth',
        'stamp',
        'files',
        'size',
        'allocated',
        'cached',
        'sharing',
        'shared',
        'duplicate',
        'potential',
        'reread',
      )
      this.#state = withRoom(this.#state, at)
      this.#left = withRoom(this.#left, at)
    }
    return at
  }
}

/** Components to a path; only the first may be, or end in, a slash. */
export function joinPath(parts: string[]): string {
  const path = parts.join('/')
  return parts[0] === '/' && parts.length > 1 ? path.slice(1) : path
}
