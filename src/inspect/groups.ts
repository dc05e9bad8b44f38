/** Groups of clones: files that are connected by shared blocks, directly or through others. */
import type { DirectoryTable } from './directories.ts'
import type { FileTable } from './files.ts'

/** Columns by the file that stands for a group (see FileTable.groupOf); bytes. */
export class GroupTable {
  /** Files of the group; 0 for files that stand for none. */
  readonly members: Uint32Array
  readonly size: Float64Array
  readonly allocated: Float64Array
  readonly cached: Float64Array
  /** The member with most in memory; of equals the largest. */
  readonly largest: Uint32Array
  /** The directory that all members are in or below; NO_DIRECTORY if there is none. */
  readonly directory: Uint32Array
  // What the sweep found, gathered from the members:
  readonly shared: Float64Array
  readonly duplicate: Float64Array
  readonly potential: Float64Array
  readonly reread: Float64Array

  constructor(files: FileTable, directories: DirectoryTable) {
    const { count } = files
    this.members = new Uint32Array(count)
    this.largest = new Uint32Array(count)
    this.directory = new Uint32Array(count)
    this.size = new Float64Array(count)
    this.allocated = new Float64Array(count)
    this.cached = new Float64Array(count)
    this.shared = new Float64Array(count)
    this.duplicate = new Float64Array(count)
    this.potential = new Float64Array(count)
    this.reread = new Float64Array(count)
    for (let file = 0; file < count; file++) {
      const group = files.groupOf(file)
      const directory = files.directory[file]!
      const isFirst = this.members[group]++ === 0
      if (isFirst || isLarger(files, file, this.largest[group]!)) this.largest[group] = file
      this.directory[group] = isFirst ? directory : directories.common(this.directory[group]!, directory)
      this.size[group]! += files.size[file]!
      this.allocated[group]! += files.allocated[file]!
      this.cached[group]! += files.cached[file]!
      this.shared[group]! += files.groupShared[file]!
      this.duplicate[group]! += files.groupDuplicate[file]!
      this.potential[group]! += files.groupPotential[file]!
      this.reread[group]! += files.groupReread[file]!
    }
  }

  /** Those that share anything within the walk. */
  *all(): Generator<number> {
    for (let group = 0; group < this.members.length; group++) if (this.shared[group]! > 0) yield group
  }
}

function isLarger(files: FileTable, a: number, b: number): boolean {
  if (files.cached[a] !== files.cached[b]) return files.cached[a]! > files.cached[b]!
  return files.size[a]! > files.size[b]!
}
