/**
 * The table of calls: how a process performs each operation of a program, and what it says about the outcome.
 */
import { cloneFile, dedupeRange } from '../src/linux/clone.ts'
import { errnoName } from '../src/linux/errors.ts'
import { addressOf, cString } from '../src/linux/native.ts'
import { S_ISGID, S_ISUID, Statx } from '../src/linux/statx.ts'
import { fill, pageHashes } from './bytes.ts'
import { ANY, ANY_SUCCESS, MAPPINGS, OUTSIDE, type Outcome, SLOTS } from './program.ts'
import { iovec, sys } from './syscalls.ts'

/** Where a process works, and what it has open. */
export interface Desk {
  /** What changes something is done below this directory… */
  root: string
  /** …and what only looks, below this one. */
  readRoot: string
  /** Is what only looks kept apart from what changes something? */
  isSplit: boolean
  /** Do some work through the mount and some below it? */
  isMixed: boolean
  /** Make a copy of what is opened for reading, to know later what it was? */
  remembers: boolean
  /** A fault to commit, for a test of the tester. */
  fault: string
  files: (OpenFile | undefined)[]
  mappings: (Mapping | undefined)[]
}

export type Place = Omit<Desk, 'files' | 'mappings'>

/** Where somebody is who has nothing to do. */
export const AWAY: Place = { root: '/', readRoot: '/', isSplit: false, isMixed: false, remembers: false, fault: '' }

interface OpenFile {
  readonly fd: number
  readonly writable: boolean
  readonly isDirect: boolean
  readonly isAppending: boolean
  /** What it held when it was opened. */
  readonly earlier?: Buffer
}

interface Mapping {
  readonly address: bigint
  readonly length: number
  readonly offset: number
  readonly earlier?: Buffer
}

export function newDesk(place: Place): Desk {
  return { ...place, files: new Array(SLOTS), mappings: new Array(MAPPINGS) }
}

/** Closes and unmaps everything. */
export function clearDesk(desk: Desk): void {
  for (let slot = 0; slot < SLOTS; slot++) drop(desk, slot)
  for (let slot = 0; slot < MAPPINGS; slot++) unmap(desk, slot)
}

const O_WRITES = 0o3 | 0o100 | 0o1000 | 0o20000000
const O_CLOEXEC = 0o2000000
const O_APPEND = 0o2000
const O_DIRECT = 0o40000
/** Of the device: what O_DIRECT wants positions to be multiples of. */
const BLOCK = 512
const REMEMBERED_MAX = 8 << 20
const AT_FDCWD = -100
const BUFFER_SIZE = 4 << 20

/** Aligned, as O_DIRECT wants it. */
const buffer = aligned(BUFFER_SIZE)
const stat = new Statx()

function aligned(size: number): Buffer {
  const whole = Buffer.alloc(size + 4096)
  const skip = Number(-addressOf(whole) & 4095n)
  return whole.subarray(skip, skip + size)
}

const plain = (result: number) => (result < 0 ? errnoName(-result) : String(result))
const NO_SLOT = 'no such slot'

/** Runs `use` with the descriptor in a slot. */
function withFile(desk: Desk, slot: number, use: (fd: number, file: OpenFile) => Outcome | number): Outcome {
  const file = desk.files[slot]
  if (file === undefined) return NO_SLOT
  const outcome = use(file.fd, file)
  return typeof outcome === 'number' ? plain(outcome) : outcome
}

/** As {@link withFile}, for locks. The kernel asks no FUSE server about a directory's: whoever works below knows nothing of those. */
function withLockable(desk: Desk, slot: number, use: (fd: number) => Outcome | number): Outcome {
  return withFile(desk, slot, (fd) =>
    desk.isMixed && stat.ofFd(fd) === 0 && stat.isDirectory ? 'a directory' : use(fd),
  )
}

/** As {@link withFile}, for what a read-only mount would refuse before it looks at permissions. */
function withChanged(desk: Desk, slot: number, use: (fd: number) => number): Outcome {
  return desk.isSplit && desk.files[slot]?.writable === false ? 'only looks' : withFile(desk, slot, use)
}

function drop(desk: Desk, slot: number): number {
  const file = desk.files[slot]
  desk.files[slot] = undefined
  return file === undefined ? 0 : sys.close(file.fd)
}

function unmap(desk: Desk, slot: number): number {
  const mapping = desk.mappings[slot]
  desk.mappings[slot] = undefined
  return mapping === undefined ? 0 : sys.munmap(mapping.address, mapping.length)
}

function keep(desk: Desk, slot: number, fd: number, flags: number): string {
  drop(desk, slot)
  if (fd < 0) return plain(fd)
  const remembers =
    desk.remembers && (flags & 0o3) === 0 && stat.ofFd(fd) === 0 && stat.isFile && stat.size <= REMEMBERED_MAX
  desk.files[slot] = {
    fd,
    writable: (flags & O_WRITES) !== 0,
    isDirect: (flags & O_DIRECT) !== 0,
    isAppending: (flags & O_APPEND) !== 0,
    ...(remembers ? { earlier: contentOf(fd, stat.size) } : {}),
  }
  return 'open'
}

function contentOf(fd: number, size: number): Buffer {
  const content = Buffer.alloc(size)
  let done = 0
  while (done < size) {
    // By way of the aligned buffer, in whole pages: the descriptor may be one for O_DIRECT.
    const got = sys.pread(fd, buffer, BUFFER_SIZE, done)
    if (got <= 0) break
    done += buffer.copy(content, done, 0, Math.min(got, size - done))
  }
  return content.subarray(0, done)
}

function hasChanged(fd: number, earlier: Buffer): boolean {
  return stat.ofFd(fd) !== 0 || stat.size !== earlier.length || !contentOf(fd, stat.size).equals(earlier)
}

/** Is what is open in a slot what it was when it was opened, as far as anybody remembers? */
export function isAsOpened(desk: Desk, slot: number): boolean {
  const file = desk.files[slot]
  return file?.earlier === undefined || !hasChanged(file.fd, file.earlier)
}

const SEEK_DATA = 3
const ENXIO = 6

/**
 * SEEK_DATA and SEEK_HOLE, checked against the file itself: what counts as a hole depends on what is cached (allocated but
 * unwritten blocks are data once somebody has read them), so that two equal files may answer differently, and both be right.
 */
function seekSparse(fd: number, offset: number, whence: number): string {
  const found = sys.lseek(fd, offset, whence)
  // Behind every file nothing depends on what is cached, and the position stays.
  if (offset >= OUTSIDE) return plain(found)
  if (offset < 0) {
    // There btrfs takes what is not written out yet for data, from the beginning on, and what is for nothing at all.
    sys.lseek(fd, 0, 0)
    return found >= 0 || found === -ENXIO ? 'outside' : plain(found)
  }
  sys.lseek(fd, offset, 0)
  if (found < 0 && found !== -ENXIO) return plain(found)
  if (stat.ofFd(fd) !== 0) return 'cannot stat'
  const { size } = stat
  const isData = whence === SEEK_DATA
  let sound: boolean
  if (found === -ENXIO) sound = offset >= size || (isData && isZero(fd, offset, size))
  else if (isData) sound = found >= offset && isZero(fd, offset, found)
  else sound = found >= offset && (found >= size || isZero(fd, found, found + 1))
  return sound ? 'sound' : `${plain(found)} is wrong`
}

/** Nothing but zeros in [from, to)? True also where that cannot be read. */
function isZero(fd: number, from: number, to: number): boolean {
  for (let offset = from; offset < to; offset += BUFFER_SIZE) {
    const length = Math.min(BUFFER_SIZE, to - offset)
    const got = sys.pread(fd, buffer, length, offset)
    if (got > 0 && buffer.subarray(0, got).some((byte) => byte !== 0)) return false
  }
  return true
}

function reading(got: number, offset: number, earlier: Buffer | undefined, length: number, isDirect = false): Outcome {
  if (got < 0) return plain(got)
  const now = said(buffer.subarray(0, got), offset)
  if (earlier === undefined) return now
  // What is read directly begins with a block, but for what is read behind the end; and what was longer when it was opened has its end elsewhere.
  const isRefused = isDirect && offset % BLOCK !== 0 && offset < earlier.length
  const before = isRefused
    ? 'EINVAL'
    : said(earlier.subarray(Math.min(offset, earlier.length), offset + length), offset)
  return before === now ? now : [now, before]
}

const said = (bytes: Buffer, offset: number) => `${bytes.length}: ${pageHashes(bytes, offset).join(',')}`

function stamped(desk: Desk, length: number, stamp: number, offset: number): Buffer {
  const bytes = buffer.subarray(0, length)
  fill(bytes, stamp, offset)
  if (desk.fault === 'lost-byte' && length > 5000) bytes[length - 1] = bytes[length - 1]! ^ 1
  return bytes
}

/** Type, mode, links, owner, size, device and times; `@` marks a time. */
export function describe(record: Statx): string {
  const w = record.words
  const time = (word: number) => `@${(w[word + 1]! | 0) * 2 ** 32 + w[word]!}.${String(w[word + 2]!).padStart(9, '0')}`
  const size = record.isDirectory ? '-' : record.size
  // FUSE does not tell truncate(2) to nothing from O_TRUNC. The one leaves the times of an empty file alone, the other does not.
  const changed = record.isFile && record.size === 0 ? '' : ` mtime=${time(28)} ctime=${time(24)}`
  return `mode=${settledMode(record).toString(8)} nlink=${record.nlink} uid=${record.uid} gid=${record.gid} size=${size} rdev=${w[32]}:${w[33]} atime=${time(16)}${changed}`
}

/**
 * The mode, without the set-id bits of files: when a change of data takes them away depends, natively, on the file system (punching holes) and
 * on what the kernel happens to remember of the inode (S_NOSEC). test/system/set-id.test.ts looks at what does not.
 */
const settledMode = ({ isFile, mode }: Statx): number => (isFile ? mode & ~(S_ISUID | S_ISGID) : mode)

const F_UNLCK = 2

/** Offset of a struct flock's fields: type s16 @0, whence s16 @2, start s64 @8, length s64 @16, pid s32 @24. */
function flockOf(type: number, start: number, length: number): Buffer {
  const lock = Buffer.alloc(32)
  lock.writeInt16LE(type, 0)
  lock.writeBigInt64LE(BigInt(start), 8)
  lock.writeBigInt64LE(BigInt(length), 16)
  return lock
}

const timespecs = (atime: number, mtime: number) => {
  // Negative: UTIME_NOW (-1) and UTIME_OMIT (-2), as nanoseconds.
  const nanoseconds = (time: number) => (time === -1 ? 0x3fffffffn : time === -2 ? 0x3ffffffen : BigInt(time % 1000))
  return BigInt64Array.of(
    BigInt(Math.max(0, atime)),
    nanoseconds(atime),
    BigInt(Math.max(0, mtime)),
    nanoseconds(mtime),
  )
}

/** Calls that only look: with these, a process that works below the mount goes through it. */
const LOOKING: Record<string, (path: string) => Outcome | number> = {
  stat: (path) => {
    const result = sys.statx(AT_FDCWD, path, 0x100, 0x7ff, stat.words)
    return result < 0 ? result : describe(stat)
  },
  readlink: (path) => {
    const got = sys.readlink(path, buffer, 4096)
    return got < 0 ? got : buffer.toString('latin1', 0, got)
  },
  readdir: (path) => {
    const fd = sys.open(path, 0o200000 | O_CLOEXEC, 0)
    if (fd < 0) return fd
    const names = entriesOf(fd)
    sys.close(fd)
    return names.map(({ name, type }) => `${name}:${type}`).join(' ')
  },
  listxattr: (path) => {
    const got = sys.listxattr(path, buffer, 65536)
    if (got < 0) return got
    const names = buffer.toString('latin1', 0, got).split('\0').filter(Boolean).sort()
    // btrfs names these to everybody, the kernel's own filters and FUSE only to root.
    return names.filter((name) => !name.startsWith('trusted.') || process.getuid?.() === 0).join(' ')
  },
}

/** Names and types in a directory, sorted. */
export function entriesOf(fd: number): { name: string; type: number }[] {
  const entries: { name: string; type: number }[] = []
  for (;;) {
    const got = sys.getdents(fd, buffer, 65536)
    if (got <= 0) return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    for (let at = 0; at < got; at += buffer.readUInt16LE(at + 16)) {
      const end = buffer.indexOf(0, at + 19)
      const name = buffer.toString('latin1', at + 19, end)
      if (name !== '.' && name !== '..') entries.push({ name, type: buffer[at + 18]! })
    }
  }
}

// biome-ignore lint/suspicious/noExplicitAny: each row checks its own arguments; programs are made by generate.ts only
type Performer = (desk: Desk, ...args: any[]) => Outcome | number

const at = (desk: Desk, path: string) => `${desk.root}/${path}`
const atReading = (desk: Desk, path: string) => `${desk.readRoot}/${path}`

const CALLS: Record<string, Performer> = {
  ...Object.fromEntries(
    Object.entries(LOOKING).map(([name, look]): [string, Performer] => [
      name,
      (desk, path: string) => look(atReading(desk, path)),
    ]),
  ),
  access: (desk, path: string, mode: number) => sys.access(atReading(desk, path), mode),
  getxattr: (desk, path: string, name: string) => {
    const got = sys.getxattr(atReading(desk, path), name, buffer, 65536)
    return got < 0 ? got : buffer.toString('hex', 0, got)
  },

  open: (desk, slot: number, path: string, flags: number, mode: number) => {
    const name = (flags & O_WRITES) === 0 ? atReading(desk, path) : at(desk, path)
    return keep(desk, slot, sys.open(name, flags | O_CLOEXEC, mode), flags)
  },
  close: (desk, slot: number) => (desk.files[slot] === undefined ? NO_SLOT : drop(desk, slot)),
  pread: (desk, slot: number, offset: number, length: number) =>
    withFile(desk, slot, (fd, { earlier, isDirect }) =>
      reading(sys.pread(fd, buffer, length, offset), offset, earlier, length, isDirect),
    ),
  read: (desk, slot: number, length: number) =>
    withFile(desk, slot, (fd, { earlier, writable, isDirect }) => {
      const position = sys.lseek(fd, 0, 1)
      const outcome = reading(sys.read(fd, buffer, length), Math.max(0, position), earlier, length, isDirect)
      // Who read an older, shorter file goes on from the same place all the same.
      if (!writable) sys.lseek(fd, position + length, 0)
      return outcome
    }),
  pwrite: (desk, slot: number, offset: number, length: number, stamp: number) =>
    withFile(desk, slot, (fd) => sys.pwrite(fd, stamped(desk, length, stamp, offset), length, offset)),
  write: (desk, slot: number, length: number, stamp: number) =>
    withFile(desk, slot, (fd, { isAppending, isDirect }) => {
      // What the daemon serves it takes from anywhere, too.
      if (isDirect) sys.lseek(fd, Math.ceil(sys.lseek(fd, 0, 1) / BLOCK) * BLOCK, 0)
      const written = sys.write(fd, stamped(desk, length, stamp, 0), length)
      if (written < 0) return written
      // Through FUSE the position is then by the size that the kernel has heard of, and it does not hear of what others do below.
      if (desk.isMixed && isAppending) {
        sys.lseek(fd, 0, 0)
        return written
      }
      return `${plain(written)} now at ${plain(sys.lseek(fd, 0, 1))}`
    }),
  lseek: (desk, slot: number, offset: number, whence: number) =>
    withFile(desk, slot, (fd, { earlier, writable }) => {
      // Positions in directories mean something to their own file system only.
      if (stat.ofFd(fd) === 0 && stat.isDirectory) return 'a directory'
      if (whence >= SEEK_DATA) return seekSparse(fd, offset, whence)
      const position = plain(sys.lseek(fd, offset, whence))
      if (!writable && whence >= 2) sys.lseek(fd, offset, 0)
      // Where the file ends may be as it was.
      return earlier !== undefined && whence >= 2 && hasChanged(fd, earlier) ? [position, ANY] : position
    }),
  fstat: (desk, slot: number) =>
    withFile(desk, slot, (fd, { earlier }) => {
      const result = stat.ofFd(fd)
      if (result < 0) return result
      const now = describe(stat)
      return earlier !== undefined && hasChanged(fd, earlier) ? [now, ANY_SUCCESS] : now
    }),
  ftruncate: (desk, slot: number, size: number) => withChanged(desk, slot, (fd) => sys.ftruncate(fd, size)),
  truncate: (desk, path: string, size: number) => sys.truncate(at(desk, path), size),
  fallocate: (desk, slot: number, mode: number, offset: number, length: number) =>
    withChanged(desk, slot, (fd) => sys.fallocate(fd, mode, offset, length)),
  fsync: (desk, slot: number) => withFile(desk, slot, (fd) => sys.fsync(fd)),
  fdatasync: (desk, slot: number) => withFile(desk, slot, (fd) => sys.fdatasync(fd)),
  syncfs: (desk, slot: number) => withFile(desk, slot, (fd) => sys.syncfs(fd)),

  rename: (desk, from: string, to: string, flags: number) => {
    // Where a directory was moved below the kernel moves its own entry when it meets it, which it cannot in the middle of a rename (ESTALE).
    if (desk.isMixed) for (const path of [from, to]) stat.at(AT_FDCWD, cString(at(desk, path)))
    return sys.renameat2(AT_FDCWD, at(desk, from), AT_FDCWD, at(desk, to), flags)
  },
  link: (desk, from: string, to: string, flags: number) => {
    // Whether a file has set-id bits, which protected_hardlinks wants to know, the kernel learns when it is asked for attributes only.
    stat.at(AT_FDCWD, cString(at(desk, from)))
    return sys.linkat(AT_FDCWD, at(desk, from), AT_FDCWD, at(desk, to), flags)
  },
  linkOpen: (desk, slot: number, to: string) =>
    withChanged(desk, slot, (fd) => {
      stat.ofFd(fd)
      return sys.linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, at(desk, to), 0x400)
    }),
  symlink: (desk, target: string, path: string) => sys.symlink(target, at(desk, path)),
  mknod: (desk, path: string, mode: number, device: number) => sys.mknod(at(desk, path), mode, device),
  mkdir: (desk, path: string, mode: number) => sys.mkdir(at(desk, path), mode),
  unlink: (desk, path: string) => sys.unlink(at(desk, path)),
  rmdir: (desk, path: string) => sys.rmdir(at(desk, path)),

  chmod: (desk, path: string, mode: number) => sys.chmod(at(desk, path), mode),
  fchmod: (desk, slot: number, mode: number) => withChanged(desk, slot, (fd) => sys.fchmod(fd, mode)),
  chown: (desk, path: string, uid: number, gid: number) => sys.lchown(at(desk, path), uid, gid),
  fchown: (desk, slot: number, uid: number, gid: number) => withChanged(desk, slot, (fd) => sys.fchown(fd, uid, gid)),
  utimens: (desk, path: string, atime: number, mtime: number) =>
    sys.utimensat(AT_FDCWD, at(desk, path), timespecs(atime, mtime), 0x100),
  futimens: (desk, slot: number, atime: number, mtime: number) =>
    withChanged(desk, slot, (fd) => sys.futimens(fd, timespecs(atime, mtime))),
  setxattr: (desk, path: string, name: string, hex: string, flags: number) =>
    sys.setxattr(at(desk, path), name, Buffer.from(`${hex}00`, 'hex'), hex.length / 2, flags),
  removexattr: (desk, path: string, name: string) => sys.removexattr(at(desk, path), name),
  umask: (_, mask: number) => {
    process.umask(mask)
    return 0
  },

  copyRange: (desk, from: number, fromOffset: number, to: number, toOffset: number, length: number) =>
    withFile(desk, from, (source) =>
      withFile(desk, to, (target) =>
        sys.copyFileRange(
          source,
          BigInt64Array.of(BigInt(fromOffset)),
          target,
          BigInt64Array.of(BigInt(toOffset)),
          length,
          0,
        ),
      ),
    ),
  sendfile: (desk, from: number, fromOffset: number, to: number, length: number) =>
    withFile(desk, from, (source) =>
      withFile(desk, to, (target) => sys.sendfile(target, source, BigInt64Array.of(BigInt(fromOffset)), length)),
    ),

  mmap: (desk, mapping: number, slot: number, offset: number, length: number, protection: number, flags: number) =>
    withFile(desk, slot, (fd, { earlier }) => {
      unmap(desk, mapping)
      const address = sys.mmap(0, length, protection, flags, fd, offset)
      if (address < 0) return address
      desk.mappings[mapping] = {
        address: BigInt(address),
        length,
        offset,
        ...(earlier === undefined ? {} : { earlier }),
      }
      return 'mapped'
    }),
  // Through process_vm_readv: beyond the end of the file that is EFAULT, not SIGBUS.
  load: (desk, mapping: number, offset: number, length: number) => {
    const mapped = desk.mappings[mapping]
    if (mapped === undefined || offset + length > mapped.length) return 'not mapped'
    const remote = iovec(mapped.address + BigInt(offset), length)
    const got = sys.readMemory(process.pid, iovec(addressOf(buffer), length), 1, remote, 1, 0)
    const outcome = reading(got, mapped.offset + offset, mapped.earlier, length)
    if (got < 0 && mapped.earlier !== undefined) return [plain(got), ANY]
    // A page is from any moment since the mapping, in which it may have changed more than once.
    return typeof outcome === 'string' ? outcome : [outcome[0], ANY]
  },
  store: (desk, mapping: number, offset: number, length: number, stamp: number, syncs: number) => {
    const mapped = desk.mappings[mapping]
    if (mapped === undefined || offset + length > mapped.length) return 'not mapped'
    fill(buffer.subarray(0, length), stamp, mapped.offset + offset)
    const remote = iovec(mapped.address + BigInt(offset), length)
    const stored = sys.writeMemory(process.pid, iovec(addressOf(buffer), length), 1, remote, 1, 0)
    const outcome = syncs ? `${plain(stored)} ${plain(sys.msync(mapped.address, mapped.length, 4))}` : plain(stored)
    // A reader's own pages, of a file that may have been longer when it was opened.
    return mapped.earlier === undefined ? outcome : [outcome, ANY]
  },
  munmap: (desk, mapping: number) => unmap(desk, mapping),

  flock: (desk, slot: number, operation: number) => withLockable(desk, slot, (fd) => sys.flock(fd, operation)),
  lock: (desk, slot: number, command: number, type: number, start: number, length: number) =>
    withLockable(desk, slot, (fd) => sys.fcntl(fd, command, flockOf(type, start, length))),
  // Of several locks that are in the way any may be named.
  getLock: (desk, slot: number, command: number, type: number, start: number, length: number) =>
    withLockable(desk, slot, (fd) => {
      const lock = flockOf(type, start, length)
      const result = sys.fcntl(fd, command, lock)
      if (result < 0) return result
      return lock.readInt16LE(0) === F_UNLCK ? 'free' : 'locked'
    }),

  // How a program begins, and what happens below the mount: files with known content, and sharing that no write made.
  make: (desk, path: string, size: number, stamp: number, mode: number) => {
    const fd = sys.open(at(desk, path), 0o102 | O_CLOEXEC, mode)
    if (fd < 0) return fd
    for (let offset = 0; offset < size; offset += BUFFER_SIZE) {
      const length = Math.min(BUFFER_SIZE, size - offset)
      fill(buffer.subarray(0, length), stamp, offset)
      sys.pwrite(fd, buffer, length, offset)
    }
    return sys.close(fd)
  },
  clone: (desk, from: string, to: string, mode: number) =>
    withTwo(at(desk, from), at(desk, to), 0o102, mode, (source, target) => cloneFile(target, source)),
  dedupe: (desk, from: string, to: string, offset: number, length: number) =>
    withTwo(at(desk, from), at(desk, to), 0o2, 0, (source, target) =>
      dedupeRange(target, offset, source, offset, length),
    ),
}

function withTwo(
  from: string,
  to: string,
  flags: number,
  mode: number,
  use: (from: number, to: number) => number,
): number {
  const O_NONBLOCK = 0o4000
  const source = sys.open(from, O_CLOEXEC | O_NONBLOCK, 0)
  if (source < 0) return source
  const target = sys.open(to, flags | O_CLOEXEC | O_NONBLOCK, mode)
  const result = target < 0 ? target : use(source, target)
  if (target >= 0) sys.close(target)
  sys.close(source)
  return result
}

/** Performs one operation; never throws. */
export function perform(desk: Desk, call: string, args: readonly (string | number)[]): Outcome {
  const performer = CALLS[call]
  if (performer === undefined) throw new Error(`no call ${call}`)
  const outcome = performer(desk, ...args)
  return typeof outcome === 'number' ? plain(outcome) : outcome
}
