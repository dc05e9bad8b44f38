/**
 * Walks a directory tree: depth first, the files of a directory before its subdirectories, symbolic links not followed.
 *
 * Made for millions of files: names go from getdents' buffer to the next system call as they are, and become strings only
 * if somebody asks. What vanishes between its listing and its turn is counted, not an error.
 *
 * A directory's descriptor stays open while its subdirectories are walked, so that a rename above does not lead the walk
 * astray. Of a very deep tree only the innermost DESCRIPTORS_MAX stay open; an outer one is found again through `..` and
 * recognised by device and inode number.
 */
import { DIRENT_NAME, getdents } from '../linux/dirents.ts'
import { ERRNO } from '../linux/errors.ts'
import { close, O_DIRECTORY, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, openat } from '../linux/file.ts'
import { addressOf, cString, type Pointer } from '../linux/native.ts'
import { AT_FDCWD, Statx } from '../linux/statx.ts'
import { decodeName, encodeName } from './names.ts'

const DESCRIPTORS_MAX = 256
const BUFFER_BYTES = 256 * 1024

const DT_UNKNOWN = 0
const DT_DIR = 4
const DT_REG = 8

/** A directory entry on its way through the walk. One object, used again for every entry: keep nothing of it. */
export interface Entry {
  /** Descriptor of the directory that holds it. */
  readonly directoryFd: number
  /** The directory, as {@link Visitor.enter} called it. */
  readonly directory: number
  /** NUL-terminated, for system calls. */
  readonly pointer: Pointer
  /** As {@link decodeName} has it. */
  name(): string
  /** Path from the directory that the walk began with. */
  relativePath(): string
}

export interface Visitor {
  /** Is the entry to be looked at? Asked for files and directories, before anything is opened. */
  wants(entry: Entry, isDirectory: boolean): boolean
  /**
   * A directory was opened. Returns a number for it, or -1 if it is not to be walked. `parent` is the number of the
   * directory that holds it, or what the walk was begun with.
   */
  enter(parent: number, name: string, fd: number, stat: Statx, path: string): number
  /** Everything below a directory is done. `changed`: entries came or went meanwhile. */
  leave(directory: number, changed: boolean): void
  /** A regular file, or what looked like one in the listing. */
  file(entry: Entry): void
  /** Something that is neither a file nor a directory: counted, never opened. */
  other(): void
  /** Listed, but gone when its turn came. */
  vanished(): void
  /** Cannot be opened or listed. `errno` is positive. */
  unreadable(path: string, errno: number): void
}

/** A directory that is being walked. */
interface Frame {
  /** -1 while closed to save descriptors. */
  fd: number
  readonly directory: number
  /** From the root of the walk, with a slash at the end; empty for the root. */
  readonly relative: string
  readonly devMajor: number
  readonly devMinor: number
  readonly ino: number
  /** When its entries last changed, see {@link modifiedAt}. */
  readonly stamp: number
  /** Names of subdirectories still to walk. */
  readonly subdirectories: string[]
}

export class Walker implements Entry {
  readonly #visitor: Visitor
  readonly #bytes = Buffer.alloc(BUFFER_BYTES)
  readonly #shorts = new Uint16Array(this.#bytes.buffer, this.#bytes.byteOffset, BUFFER_BYTES / 2)
  readonly #address = Number(addressOf(this.#bytes))
  readonly #stat = new Statx()
  readonly #dotDot = cString('..')
  readonly #stack: Frame[] = []
  /** The outermost frame whose descriptor is open. */
  #outermostOpen = 0
  #root = ''

  directoryFd = -1
  directory = -1
  pointer: Pointer = null
  #nameAt = 0
  #relative = ''

  constructor(visitor: Visitor) {
    this.#visitor = visitor
  }

  /**
   * Walks what lies below the directory `path`. `parent` and `name` go to {@link Visitor.enter}. Returns 0, or -errno if
   * the directory itself cannot be opened or listed.
   */
  walk(path: string, parent: number, name: string): number {
    this.#root = path
    const error = this.#open(AT_FDCWD, encodeName(path), parent, name, '')
    if (error < 0) return error
    const stack = this.#stack
    while (stack.length > 0) {
      const frame = stack[stack.length - 1]!
      const subdirectory = frame.subdirectories.pop()
      if (subdirectory === undefined) this.#leave()
      else if (frame.fd === -1) this.#visitor.vanished()
      else {
        const relative = `${frame.relative}${subdirectory}/`
        const failed = this.#open(frame.fd, encodeName(subdirectory), frame.directory, subdirectory, relative)
        if (failed < 0) this.#report(failed, relative.slice(0, -1))
      }
    }
    return 0
  }

  name(): string {
    return decodeName(this.#bytes.subarray(this.#nameAt, this.#bytes.indexOf(0, this.#nameAt)))
  }

  relativePath(): string {
    return this.#relative + this.name()
  }

  /** The path of an entry, for messages. */
  #path(relative: string): string {
    return relative === '' ? this.#root : `${this.#root.replace(/\/$/, '')}/${relative}`
  }

  #report(error: number, relative: string): void {
    if (isGone(error)) this.#visitor.vanished()
    else this.#visitor.unreadable(this.#path(relative), -error)
  }

  /** Opens a directory, lists it, visits its files, and puts it on the stack. Returns 0 or -errno. */
  #open(directoryFd: number, pointer: Pointer, parent: number, name: string, relative: string): number {
    const flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | (relative === '' ? 0 : O_NOFOLLOW)
    let fd = openat(directoryFd, pointer, flags | O_NOATIME)
    // Only a file's owner may ask for O_NOATIME.
    if (fd === -ERRNO.EPERM) fd = openat(directoryFd, pointer, flags)
    if (fd < 0) return fd
    const stat = this.#stat
    const error = stat.ofFd(fd)
    if (error < 0) {
      close(fd)
      return error
    }
    const directory = this.#visitor.enter(parent, name, fd, stat, this.#path(relative.slice(0, -1)))
    if (directory < 0) {
      close(fd)
      return 0
    }
    const frame: Frame = {
      fd,
      directory,
      relative,
      devMajor: stat.devMajor,
      devMinor: stat.devMinor,
      ino: stat.ino,
      stamp: modifiedAt(stat),
      subdirectories: [],
    }
    this.#stack.push(frame)
    if (this.#stack.length - this.#outermostOpen > DESCRIPTORS_MAX) this.#closeOutermost()
    const listed = this.#list(frame)
    if (listed < 0) this.#report(listed, relative.slice(0, -1))
    return 0
  }

  /** Visits the files of a directory and notes its subdirectories. Returns 0 or -errno. */
  #list(frame: Frame): number {
    this.directoryFd = frame.fd
    this.directory = frame.directory
    this.#relative = frame.relative
    for (;;) {
      const bytes = getdents(frame.fd, this.#bytes, BUFFER_BYTES)
      if (bytes <= 0) return bytes
      for (let at = 0; at < bytes; at += this.#shorts[(at + 16) / 2]!) this.#visit(frame, at)
    }
  }

  /** One record of getdents. */
  #visit(frame: Frame, at: number): void {
    const bytes = this.#bytes
    const nameAt = at + DIRENT_NAME
    if (bytes[nameAt] === 0x2e && (bytes[nameAt + 1] === 0 || (bytes[nameAt + 1] === 0x2e && bytes[nameAt + 2] === 0)))
      return
    this.#nameAt = nameAt
    this.pointer = this.#address + nameAt
    let type = bytes[at + 18]!
    if (type === DT_UNKNOWN) {
      const error = this.#stat.at(frame.fd, this.pointer)
      if (error < 0) {
        this.#report(error, this.relativePath())
        return
      }
      type = this.#stat.isDirectory ? DT_DIR : this.#stat.isFile ? DT_REG : DT_UNKNOWN
    }
    if (type === DT_REG) {
      if (this.#visitor.wants(this, false)) this.#visitor.file(this)
    } else if (type === DT_DIR) {
      if (this.#visitor.wants(this, true)) frame.subdirectories.push(this.name())
    } else this.#visitor.other()
  }

  /** Takes the innermost directory off the stack, and opens the next one again if its descriptor was given up. */
  #leave(): void {
    const frame = this.#stack.pop()!
    const outer = this.#stack[this.#stack.length - 1]
    const changed = frame.fd === -1 || this.#stat.ofFd(frame.fd) < 0 || modifiedAt(this.#stat) !== frame.stamp
    if (outer !== undefined && outer.fd === -1) {
      outer.fd = this.#find(outer, frame.fd)
      this.#outermostOpen = this.#stack.length - 1
    }
    if (frame.fd !== -1) close(frame.fd)
    this.#visitor.leave(frame.directory, changed)
  }

  #closeOutermost(): void {
    const outer = this.#stack[this.#outermostOpen++]!
    if (outer.fd !== -1) close(outer.fd)
    outer.fd = -1
  }

  /** A descriptor of the directory of `frame`, through the `..` of one in it or by its path; -1 if it is not there now. */
  #find(frame: Frame, childFd: number): number {
    const stat = this.#stat
    for (const [directoryFd, pointer] of [
      [childFd, this.#dotDot],
      [AT_FDCWD, encodeName(this.#path(frame.relative))],
    ] as const) {
      const fd = openat(directoryFd, pointer, O_PATH | O_DIRECTORY)
      if (fd < 0) continue
      const isSame =
        stat.ofFd(fd) === 0 &&
        stat.devMajor === frame.devMajor &&
        stat.devMinor === frame.devMinor &&
        stat.ino === frame.ino
      if (isSame) return fd
      close(fd)
    }
    return -1
  }
}

/** Did the entry go away, or become something else, since it was listed? */
export function isGone(error: number): boolean {
  return error === -ERRNO.ENOENT || error === -ERRNO.ENOTDIR || error === -ERRNO.ELOOP || error === -ERRNO.ESTALE
}

/** An instant in nanoseconds that is the same for equal times, and no other within 48 days: exact as a float. */
function instant(seconds: number, nanoseconds: number): number {
  return (seconds % 2 ** 22) * 1e9 + nanoseconds
}

/** For comparison only: changes whenever an entry of the directory does. */
export function modifiedAt(stat: Statx): number {
  return instant(stat.mtimeSec, stat.mtimeNsec)
}

/** For comparison only: changes whenever anything about the file does. */
export function changedAt(stat: Statx): number {
  return instant(stat.ctimeSec, stat.ctimeNsec)
}
