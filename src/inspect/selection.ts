/**
 * Which files of which trees: arguments, globs, file systems, hard links. What is left over goes to a {@link Handler}, each
 * inode once, whatever it does with it.
 */
import fs from 'node:fs'
import path from 'node:path'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close, O_NOFOLLOW, O_PATH, open, openat } from '../linux/file.ts'
import { readMountInfo } from '../linux/mountinfo.ts'
import { AT_FDCWD, Statx } from '../linux/statx.ts'
import { NO_DIRECTORY } from './directories.ts'
import { deviceNumber, type WalkedDevice, type WalkedFilesystem, WalkedFilesystems } from './filesystems.ts'
import { type Globs, globFilter } from './globs.ts'
import { encodeName } from './names.ts'
import { type Entry, isGone, modifiedAt, type Visitor, Walker } from './walk.ts'

export interface SelectionOptions extends Globs {
  /** Directories and files to look at. A symbolic link given here is followed. */
  paths: readonly string[]
  /** Do not go into other file systems. (btrfs subvolumes of the same one are no others.) */
  xdev: boolean
}

export interface PathError {
  path: string
  /** Positive errno. */
  errno: number
}

export interface WalkCounts {
  /** Symbolic links, devices, fifos, sockets. */
  others: number
  directories: number
  /** Further names of files that were met already. */
  hardLinks: number
  unreadable: number
  /** Went away between their listing and their turn. */
  vanished: number
}

/** Does something with the selected files. */
export interface Handler {
  /** A directory is entered; returns a number for it. `stamp`: see modifiedAt; NaN for one that is not walked itself. */
  enter(parent: number, name: string, stamp: number): number
  /** `changed`: its entries came or went meanwhile. */
  leave(directory: number, changed: boolean): void
  /** A regular file; `stat` is {@link Selection.stat}. Returns 0, or -errno if the file could not be opened. */
  file(entry: Entry, device: WalkedDevice): number
}

/** Unreadable paths whose names are kept; the others are counted. */
export const UNREADABLE_LISTED = 1000

export class Selection implements Visitor {
  /** Of the file at hand. */
  readonly stat: Statx
  /** Path of the directory at hand. */
  directory = ''
  readonly filesystems = new WalkedFilesystems()
  readonly counts: WalkCounts = {
    others: 0,
    directories: 0,
    hardLinks: 0,
    unreadable: 0,
    vanished: 0,
  }
  /** Mountpoints that were left out, and why. */
  readonly leftOut: { path: string; kind: string; why: string }[] = []
  /** The first {@link UNREADABLE_LISTED} of them. */
  readonly unreadablePaths: PathError[] = []
  /** Arguments that could not be read at all. */
  readonly failed: PathError[] = []

  readonly #options: SelectionOptions
  readonly #handler: Handler
  readonly #walker = new Walker(this)
  readonly #wants: (entry: Entry, isDirectory: boolean) => boolean
  /** Looking at these would make the automounter mount something. */
  readonly #automounts = automountPaths()
  /** The file system of the argument at hand. */
  #ofArgument: WalkedFilesystem | undefined

  /** `stat` is where each file's stat is put. */
  constructor(options: SelectionOptions, handler: Handler, stat: Statx) {
    this.#options = options
    this.#handler = handler
    this.#wants = globFilter(options)
    this.stat = stat
  }

  /** Walks all arguments; returns when done. Problems are in the fields above. */
  walk(): void {
    for (const argument of outermost(this.#options.paths, this.failed)) this.#walkArgument(argument)
  }

  #walkArgument(argument: string): void {
    const stat = new Statx()
    try {
      const fd = open(argument, O_PATH)
      try {
        const error = stat.ofFd(fd)
        if (error < 0) throw new SystemError(-error, 'statx', argument)
        // A fifo cannot tell what its file system can do, and would be believed for all files there.
        if (!stat.isDirectory && !stat.isFile) {
          this.other()
          return
        }
        this.#ofArgument = this.filesystems.of(stat, fd).filesystem
      } finally {
        close(fd)
      }
    } catch (error) {
      this.failed.push({ path: argument, errno: errnoOfError(error) })
      return
    }
    if (stat.isDirectory) {
      const error = this.#walker.walk(argument, NO_DIRECTORY, argument)
      if (error < 0) this.failed.push({ path: argument, errno: -error })
    } else this.#fileArgument(argument)
  }

  /** A file that was given as an argument: it is shown in the directory that its path names. */
  #fileArgument(argument: string): void {
    const real = fs.realpathSync(argument)
    const shown = fs.lstatSync(argument).isSymbolicLink() ? real : argument
    const name = path.basename(shown)
    this.directory = path.dirname(shown)
    const directory = this.#handler.enter(NO_DIRECTORY, this.directory, Number.NaN)
    const entry = {
      directoryFd: AT_FDCWD,
      directory,
      pointer: encodeName(real),
      name: () => name,
      relativePath: () => name,
    }
    const error = this.#wants(entry, false) ? this.#file(entry) : 0
    if (error < 0) this.failed.push({ path: argument, errno: -error })
    this.#handler.leave(directory, false)
  }

  // What the walker asks and tells:

  wants(entry: Entry, isDirectory: boolean): boolean {
    if (isDirectory && this.#automounts.size > 0 && this.#automounts.has(path.resolve(this.directory, entry.name()))) {
      return false
    }
    return this.#wants(entry, isDirectory)
  }

  enter(parent: number, name: string, fd: number, stat: Statx, directory: string): number {
    let device: WalkedDevice
    try {
      device = this.filesystems.of(stat, fd)
    } catch (error) {
      this.unreadable(directory, errnoOfError(error))
      return -1
    }
    const { filesystem } = device
    if (this.#options.xdev && filesystem !== this.#ofArgument) return -1
    const why = this.#whyLeftOut(filesystem)
    if (why !== undefined) {
      this.leftOut.push({ path: directory, kind: filesystem.identified.kind, why })
      return -1
    }
    // Seen already: below another argument, or through a bind mount.
    if (!device.directories.add(stat.inoLow, stat.inoHigh)) return -1
    this.counts.directories++
    this.directory = directory
    return this.#handler.enter(parent, name, modifiedAt(stat))
  }

  leave(directory: number, changed: boolean): void {
    this.#handler.leave(directory, changed)
  }

  other(): void {
    this.counts.others++
  }

  vanished(): void {
    this.counts.vanished++
  }

  unreadable(name: string, errno: number): void {
    this.counts.unreadable++
    if (this.unreadablePaths.length < UNREADABLE_LISTED) this.unreadablePaths.push({ path: name, errno })
  }

  file(entry: Entry): void {
    const error = this.#file(entry)
    if (error === 0) return
    if (isGone(error)) this.counts.vanished++
    else this.unreadable(path.join(this.directory, entry.name()), -error)
  }

  #file(entry: Entry): number {
    const { stat } = this
    const error = stat.at(entry.directoryFd, entry.pointer)
    if (error < 0) return error
    if (!stat.isFile) return -ERRNO.ENOENT
    let device: WalkedDevice | undefined
    try {
      device = this.#deviceOf(entry)
    } catch (error) {
      return -errnoOfError(error)
    }
    if (this.#whyLeftOut(device.filesystem) !== undefined) return 0
    if (stat.nlink > 1 && !device.files.add(stat.inoLow, stat.inoHigh)) {
      this.counts.hardLinks++
      return 0
    }
    return this.#handler.file(entry, device)
  }

  #whyLeftOut(filesystem: WalkedFilesystem): string | undefined {
    if (filesystem.isView && filesystem !== this.#ofArgument) return 'it shows files that lie elsewhere'
    return filesystem.leftOut
  }

  /** The file's device: mostly its neighbours'; its own on a file that something is mounted on, and on overlayfs. */
  #deviceOf(entry: Entry): WalkedDevice {
    const known = this.filesystems.find(deviceNumber(this.stat))
    if (known !== undefined) return known
    const fd = openat(entry.directoryFd, entry.pointer, O_PATH | O_NOFOLLOW)
    if (fd < 0) throw new SystemError(-fd, 'openat')
    try {
      return this.filesystems.of(this.stat, fd)
    } finally {
      close(fd)
    }
  }
}

/**
 * The arguments without those that lie below another one: they are walked with it. What cannot be found goes to `failed`.
 */
function outermost(paths: readonly string[], failed: PathError[]): string[] {
  const found: { argument: string; real: string }[] = []
  for (const given of paths) {
    const argument = path.normalize(given).replace(/(.)\/+$/, '$1')
    try {
      found.push({ argument, real: fs.realpathSync(argument) })
    } catch (error) {
      failed.push({ path: argument, errno: errnoOfError(error) })
    }
  }
  return found
    .filter(({ real }, index) =>
      found.every((other, at) => at === index || !contains(other.real, real) || (other.real === real && index < at)),
    )
    .map(({ argument }) => argument)
}

/** Is `inner` the directory `outer` or below it? Both without symbolic links. */
function contains(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer === '/' ? '/' : `${outer}/`)
}

function automountPaths(): ReadonlySet<string> {
  try {
    const automounts = readMountInfo().filter(({ type }) => type === 'autofs')
    return new Set(automounts.map(({ mountpoint }) => mountpoint))
  } catch {
    // No /proc: then nobody tells.
    return new Set()
  }
}

function errnoOfError(error: unknown): number {
  const { errno } = error as { errno?: unknown }
  if (typeof errno !== 'number') throw error
  return -errno
}
