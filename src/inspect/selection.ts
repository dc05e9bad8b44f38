/**
 * Which files of which trees: arguments, globs, file systems, hard links. What is left over goes to a {@link Handler}, each
 * inode once, whatever it does with it.
 */
import fs from 'node:fs'
import path from 'node:path'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close, O_NOFOLLOW, O_PATH, open, openat } from '../linux/file.ts'
import { AT_FDCWD, Statx, statxPath } from '../linux/statx.ts'
import { type Argument, findArguments } from './arguments.ts'
import { joinPath, NO_DIRECTORY } from './directories.ts'
import { deviceNumber, type WalkedDevice, type WalkedFilesystem, WalkedFilesystems } from './filesystems.ts'
import { type Globs, globFilter } from './globs.ts'
import { InodeSet } from './inode-set.ts'
import { automountPaths, currentMounts, partialMountpoints } from './mounts.ts'
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
const UNREADABLE_LISTED = 1000

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
  leftOut: { path: string; kind: string; why: string }[] = []
  /** The first {@link UNREADABLE_LISTED} of them. */
  readonly unreadablePaths: PathError[] = []
  /** Arguments that could not be read at all. */
  readonly failed: PathError[] = []

  readonly #options: SelectionOptions
  readonly #handler: Handler
  readonly #walker = new Walker(this)
  readonly #wants: (entry: Entry, isDirectory: boolean) => boolean
  /** Looking at these would make the automounter mount something. */
  readonly #automounts: ReadonlySet<string>
  /** The argument at hand; and without symbolic links. */
  #argument = ''
  #real = ''
  /** Its file system. */
  #ofArgument: WalkedFilesystem | undefined
  /** Numbers of the directories in which files are shown that are arguments, by path. */
  readonly #shown = new Map<string, number>()
  /** Files that may be met twice though they have one name: by {@link deviceNumber}. */
  readonly #recurring = new Map<number, InodeSet>()
  /** The file at hand is among its device's `files`. */
  #isNoted = false

  /** `stat` is where each file's stat is put. */
  constructor(options: SelectionOptions, handler: Handler, stat: Statx) {
    this.#options = options
    this.#handler = handler
    this.#wants = globFilter(options)
    this.stat = stat
    const mounts = currentMounts()
    this.#automounts = automountPaths(mounts)
    for (const mountpoint of partialMountpoints(mounts)) this.#noteRecurring(mountpoint)
  }

  /** Walks all arguments; returns when done. Problems are in the fields above. */
  walk(): void {
    const fail = (path: string, error: unknown) => this.failed.push({ path, errno: errnoOfError(error) })
    const given = findArguments(this.#options.paths, fail)
    for (const { real } of given) this.#noteRecurring(real)
    for (const argument of given) this.#walkArgument(argument)
    for (const directory of this.#shown.values()) this.#handler.leave(directory, false)
  }

  /** False if the file at hand was met before, under another name or through another mount. For files that must not count twice. */
  isFirst(device: WalkedDevice): boolean {
    return this.#isNoted || device.files.add(this.stat.inoLow, this.stat.inoHigh)
  }

  #walkArgument(given: Argument): void {
    const { path: argument, real } = given
    this.#argument = argument
    this.#real = real
    // Looked at after all, if it was left out on the walk from outside.
    if (given.isInner) this.leftOut = this.leftOut.filter((mount) => realPath(mount.path) !== real)
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
    } else this.#fileArgument(given)
  }

  /** A file that was given as an argument: it is shown in the directory that its path names. */
  #fileArgument({ path: argument, real, isInner }: Argument): void {
    const shown = fs.lstatSync(argument).isSymbolicLink() ? real : argument
    const name = path.basename(shown)
    this.directory = path.dirname(shown)
    const enter = () => this.#enterShown(this.directory)
    const entry = {
      directoryFd: AT_FDCWD,
      get directory() {
        return enter()
      },
      pointer: encodeName(real),
      name: () => name,
      relativePath: () => name,
    }
    const { hardLinks } = this.counts
    const error = this.#wants(entry, false) ? this.#file(entry) : 0
    // If it was met before, then under this very name.
    if (isInner) this.counts.hardLinks = hardLinks
    if (error < 0) this.failed.push({ path: argument, errno: -error })
  }

  // What the walker asks and tells:

  wants(entry: Entry, isDirectory: boolean): boolean {
    if (!this.#wants(entry, isDirectory)) return false
    if (!isDirectory || this.#automounts.size === 0) return true
    const real = joinPath([this.#real + this.directory.slice(this.#argument.length), entry.name()])
    if (!this.#automounts.has(real)) return true
    const path = joinPath([this.directory, entry.name()])
    this.leftOut.push({ path, kind: 'autofs', why: 'looking at it would mount something' })
    return false
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
    else this.unreadable(joinPath([this.directory, entry.name()]), -error)
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
    // Something of another file system is mounted on this file.
    if (this.#options.xdev && device.filesystem !== this.#ofArgument) return 0
    if (this.#whyLeftOut(device.filesystem) !== undefined) return 0
    const isRecurring = stat.nlink > 1 || this.#recurring.get(device.number)?.has(stat.inoLow, stat.inoHigh) === true
    if (isRecurring && !device.files.add(stat.inoLow, stat.inoHigh)) {
      this.counts.hardLinks++
      return 0
    }
    this.#isNoted = isRecurring
    return this.#handler.file(entry, device)
  }

  /** The number of a directory in which files are shown that are arguments. */
  #enterShown(directory: string): number {
    let number = this.#shown.get(directory)
    if (number === undefined) {
      number = this.#handler.enter(NO_DIRECTORY, directory, Number.NaN)
      this.#shown.set(directory, number)
    }
    return number
  }

  #noteRecurring(file: string): void {
    let stat: Statx
    try {
      stat = statxPath(file)
    } catch {
      // Gone, or not for us.
      return
    }
    if (!stat.isFile) return
    const number = deviceNumber(stat)
    const known = this.#recurring.get(number) ?? new InodeSet()
    known.add(stat.inoLow, stat.inoHigh)
    this.#recurring.set(number, known)
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

/** `''` if it is gone. */
function realPath(path: string): string {
  try {
    return fs.realpathSync.native(path)
  } catch {
    return ''
  }
}

function errnoOfError(error: unknown): number {
  const { errno } = error as { errno?: unknown }
  if (typeof errno !== 'number') throw error
  return -errno
}
