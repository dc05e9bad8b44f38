/**
 * The files that share storage, as columns. Files that share nothing never get here: they are only counted.
 *
 * Invariants: a file's group (union-find over `group`) is the set of files that are connected by shared blocks; the
 * `group…` columns are sums over the blocks of the group, kept at any member until {@link FileTable.groupOf} gathers them.
 */
import { makeRoom } from './columns.ts'

const CAPACITY_MIN = 64

/** What the walk knows about one file. Bytes, unless said otherwise. */
export interface FileFacts {
  directory: number
  name: string
  /** See deviceNumber; with `ino` it identifies the file. */
  device: number
  ino: number
  /** When it was last changed, see changedAt; NaN if it changed since. */
  stamp: number
  size: number
  allocated: number
  cached: number
  /** Extents, merged where one continues the other. */
  pieces: number
}

export class FileTable {
  count = 0
  readonly name: string[] = []
  directory = new Uint32Array(CAPACITY_MIN)
  device = new Float64Array(CAPACITY_MIN)
  ino = new Float64Array(CAPACITY_MIN)
  stamp = new Float64Array(CAPACITY_MIN)
  pieces = new Uint32Array(CAPACITY_MIN)
  size = new Float64Array(CAPACITY_MIN)
  /** Bytes of blocks, as du counts them. */
  allocated = new Float64Array(CAPACITY_MIN)
  cached = new Float64Array(CAPACITY_MIN)

  // What the sweep finds, per file:
  /** Bytes whose blocks are used in another place, too. */
  shared = new Float64Array(CAPACITY_MIN)
  /** Bytes in memory whose blocks are in memory for another place, too. */
  cachedAgain = new Float64Array(CAPACITY_MIN)
  /** The file's part of what is in memory more than once: (k - 1) / k of each byte that is there k times. */
  duplicate = new Float64Array(CAPACITY_MIN)
  /** The same, if every file were in memory as a whole. */
  potential = new Float64Array(CAPACITY_MIN)
  /** The same, for reads of the device. */
  reread = new Float64Array(CAPACITY_MIN)

  // And per group, kept at any member:
  group = new Uint32Array(CAPACITY_MIN)
  groupShared = new Float64Array(CAPACITY_MIN)
  groupDuplicate = new Float64Array(CAPACITY_MIN)
  groupPotential = new Float64Array(CAPACITY_MIN)
  groupReread = new Float64Array(CAPACITY_MIN)

  /** Adds a file, alone in its group; returns its index. */
  add(facts: FileFacts): number {
    const at = this.count++
    if (at === this.group.length) this.#grow(at)
    this.name.push(facts.name)
    this.directory[at] = facts.directory
    this.device[at] = facts.device
    this.ino[at] = facts.ino
    this.stamp[at] = facts.stamp
    this.pieces[at] = facts.pieces
    this.size[at] = facts.size
    this.allocated[at] = facts.allocated
    this.cached[at] = facts.cached
    this.group[at] = at
    return at
  }

  /** The file that stands for the group of `file`. Halves the paths that it follows. */
  groupOf(file: number): number {
    const group = this.group
    let at = file
    while (group[at] !== at) {
      group[at] = group[group[at]!]!
      at = group[at]!
    }
    return at
  }

  /** Makes one group of two files' groups. */
  join(a: number, b: number): void {
    const rootA = this.groupOf(a)
    const rootB = this.groupOf(b)
    // The older index stands for both; with path halving the trees stay flat enough.
    if (rootA < rootB) this.group[rootB] = rootA
    else this.group[rootA] = rootB
  }

  #grow(index: number): void {
    makeRoom(
      this,
      index,
      'directory',
      'device',
      'ino',
      'stamp',
      'pieces',
      'size',
      'allocated',
      'cached',
      'shared',
      'cachedAgain',
      'duplicate',
      'potential',
      'reread',
      'group',
      'groupShared',
      'groupDuplicate',
      'groupPotential',
      'groupReread',
    )
  }
}
