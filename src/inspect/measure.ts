/**
 * Measures whole trees: walks them, measures each file, and sweeps over what is shared. The result is what reports are
 * made of.
 *
 * Memory: about 80 bytes for each distinct shared range, 4 for each use of one (see RangeTable), about 200 for each file that shares storage and each directory above such a
 * file, 8 to 27 for each directory and each file with several names. Files that share nothing leave only their figures.
 */
import { ERRNO } from '../linux/errors.ts'
import { close, O_DIRECTORY, O_PATH, openat } from '../linux/file.ts'
import { AT_FDCWD, Statx } from '../linux/statx.ts'
import { DirectoryTable } from './directories.ts'
import { FileTable } from './files.ts'
import type { WalkedDevice, WalkedFilesystem } from './filesystems.ts'
import { FileProbe } from './measure-file.ts'
import { encodeName } from './names.ts'
import { type Handler, type PathError, Selection, type SelectionOptions, type WalkCounts } from './selection.ts'
import { noSums, type SweepSums, sweep } from './sweep.ts'
import { changedAt, type Entry, modifiedAt } from './walk.ts'

interface MeasureOptions extends SelectionOptions {
  /** Write dirty pages to the device first, so that every block has its place. */
  sync: boolean
  /** Called a few times a second with the number of files done and the directory at hand. */
  onProgress?: ((files: number, directory: string) => void) | undefined
}

/** Everything that was found out. Bytes, unless said otherwise. */
export interface Measurement {
  readonly options: MeasureOptions
  /** Of the walk, each inode once. */
  readonly counts: Readonly<WalkCounts>
  /** Regular files. */
  fileCount: number
  size: number
  /** Blocks, counted once per file that uses them (as du does). */
  allocated: number
  cached: number
  /** Files that are accessed directly (DAX), and their blocks: nothing of them is ever cached. */
  directFiles: number
  directAllocated: number
  /** Shared storage that is compressed, so that its pages cannot be compared. */
  incomparable: number
  /** Shared blocks whose pages are dirty: counted as their file's own. */
  unstable: number
  /** Files that share storage and changed between the first look at them and the end of the walk. */
  changedFiles: number
  /** Directories whose entries came or went while what is below was walked; if files below share, until the end of the walk. */
  changedDirectories: number
  /** Files of which nobody tells how much is in memory. */
  residencyUnknown: number
  /** Files of which nobody tells whether they share storage. */
  sharingUnknown: number
  readonly sums: SweepSums
  readonly directories: DirectoryTable
  readonly files: FileTable
  readonly filesystems: readonly WalkedFilesystem[]
  readonly leftOut: readonly { path: string; kind: string; why: string }[]
  readonly unreadable: readonly PathError[]
  /** Arguments that could not be read at all. */
  readonly failed: readonly PathError[]
  /** Milliseconds since the epoch. */
  readonly startedAt_ms: number
  readonly walk_ms: number
  readonly sweep_ms: number
}

const PROGRESS_EVERY = 256
const PROGRESS_INTERVAL_MS = 100

/**
 * Measures `options.paths`. Blocks the thread until done, apart from calls of `onProgress`. Throws only where the process
 * itself fails; paths that cannot be read are in the result.
 */
export function measure(options: MeasureOptions): Measurement {
  const startedAt_ms = Date.now()
  // 1. Walk
  const started = performance.now()
  const measuring = new Measuring(options)
  const { selection, figures, files, directories } = measuring
  selection.walk()
  measuring.lookAgain()
  measuring.report()
  const walked = performance.now()

  // 2. Sweep
  const filesystems = selection.filesystems.all()
  const sums = noSums()
  for (const { ranges } of filesystems) sweep(ranges, files, sums)
  directories.rollUp(files)
  const swept = performance.now()

  const { counts, leftOut, unreadablePaths: unreadable, failed } = selection
  return {
    ...{ options, ...figures, counts, sums, directories, files, filesystems, leftOut, unreadable, failed },
    startedAt_ms,
    walk_ms: walked - started,
    sweep_ms: swept - walked,
  }
}

/** Measures file by file. */
class Measuring implements Handler {
  readonly selection: Selection
  readonly directories = new DirectoryTable()
  readonly files = new FileTable()
  readonly figures = {
    fileCount: 0,
    size: 0,
    allocated: 0,
    cached: 0,
    directFiles: 0,
    directAllocated: 0,
    incomparable: 0,
    unstable: 0,
    changedFiles: 0,
    changedDirectories: 0,
    residencyUnknown: 0,
    sharingUnknown: 0,
  }
  readonly #probe: FileProbe
  readonly #onProgress: MeasureOptions['onProgress']
  #nextProgress_ms = 0
  #sinceProgress = 0

  constructor(options: MeasureOptions) {
    this.#probe = new FileProbe(options.sync)
    this.#onProgress = options.onProgress
    this.selection = new Selection(options, this, this.#probe.stat)
  }

  enter(parent: number, name: string, stamp: number): number {
    return this.directories.enter(parent, name, stamp)
  }

  leave(directory: number, changed: boolean): void {
    if (changed) {
      this.figures.changedDirectories++
      this.directories.stamp[directory] = Number.NaN
    }
    this.directories.leave(directory)
  }

  file(entry: Entry, device: WalkedDevice): number {
    if (++this.#sinceProgress >= PROGRESS_EVERY) this.#progress()
    const probe = this.#probe
    const outcome = probe.measure(entry.directoryFd, entry.pointer, device.filesystem)
    try {
      if (typeof outcome === 'number') return outcome
      if (outcome === 'sharing' && !this.#sharing(entry, device)) return 0
    } finally {
      probe.release()
    }
    const { figures } = this
    const { size, blocks } = probe.stat
    const allocated = blocks * 512
    figures.fileCount++
    device.filesystem.files++
    figures.size += size
    figures.allocated += allocated
    figures.cached += probe.cached
    if (probe.isDirect) {
      figures.directFiles++
      figures.directAllocated += allocated
    }
    figures.incomparable += probe.incomparable
    if (probe.residencyUnknown) figures.residencyUnknown++
    if (probe.sharingUnknown) figures.sharingUnknown++
    this.directories.addFile(entry.directory, size, allocated, probe.cached)
    return 0
  }

  /** Notes a file that shares storage, and its ranges. False if it was noted already. */
  #sharing(entry: Entry, device: WalkedDevice): boolean {
    const probe = this.#probe
    const { stat } = probe
    // A bind mount of a single file would otherwise look like a clone of it. (Hard links were recognised before.)
    if (!this.selection.isFirst(device)) {
      this.selection.counts.hardLinks++
      return false
    }
    const file = this.files.add({
      directory: entry.directory,
      name: entry.name(),
      device: device.number,
      ino: stat.ino,
      stamp: changedAt(stat),
      size: stat.size,
      allocated: stat.blocks * 512,
      cached: probe.cached,
      pieces: probe.extents.count,
    })
    const isAtRest = probe.readRanges()
    device.filesystem.ranges.addFile(file, probe.ranges)
    if (!isAtRest) this.files.stamp[file] = Number.NaN
    this.figures.unstable += probe.unstable
    this.directories.sharing[entry.directory]! += 1
    return true
  }

  /** Looks once more at the files that share, and at their directories: did they change after their turn? */
  lookAgain(): void {
    const { files, directories, figures } = this
    const stat = new Statx()
    for (let file = 0; file < files.count; ) {
      const directory = files.directory[file]!
      const fd = openat(AT_FDCWD, encodeName(directories.path(directory)), O_PATH | O_DIRECTORY)
      // A path that is too long for the kernel (the walk itself uses none): nobody can tell.
      const isTooLong = fd === -ERRNO.ENAMETOOLONG
      const stamp = isTooLong ? Number.NaN : directories.stamp[directory]!
      if (!Number.isNaN(stamp) && (fd < 0 || stat.ofFd(fd) < 0 || modifiedAt(stat) !== stamp))
        figures.changedDirectories++
      for (; file < files.count && files.directory[file] === directory; file++) {
        if (isTooLong) continue
        const error = fd < 0 ? fd : stat.at(fd, encodeName(files.name[file]!))
        if (error < 0) this.selection.counts.vanished++
        else if (stat.ino !== files.ino[file] || changedAt(stat) !== files.stamp[file]) figures.changedFiles++
      }
      if (fd >= 0) close(fd)
    }
  }

  #progress(): void {
    this.#sinceProgress = 0
    const now = performance.now()
    if (now < this.#nextProgress_ms) return
    this.#nextProgress_ms = now + PROGRESS_INTERVAL_MS
    this.report()
  }

  report(): void {
    this.#onProgress?.(this.figures.fileCount, this.selection.directory)
  }
}
