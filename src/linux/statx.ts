/**
 * statx(2) into a reusable record, so that a stat allocates nothing.
 *
 * ```
 * struct statx        offset
 *   mask        u32    0     blksize     u32    4     attributes  u64    8
 *   nlink       u32   16     uid         u32   20     gid         u32   24
 *   mode        u16   28     ino         u64   32     size        u64   40
 *   blocks      u64   48     attr_mask   u64   56     atime           64
 *   btime             80     ctime             96     mtime          112   (s64 seconds, u32 nanoseconds, pad)
 *   rdev    2 x u32  128     dev     2 x u32  136     mnt_id      u64  144
 * ```
 */
import { check, cString, errnoOf, libc, type Pointer } from './native.ts'

export const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_EMPTY_PATH = 0x1000
const AT_STATX_DONT_SYNC = 0x4000

export const STATX_BASIC_STATS = 0x7ff
export const STATX_BTIME = 0x800
export const STATX_MNT_ID = 0x1000
const STATX_MNT_ID_UNIQUE = 0x4000

/** File attribute bits of `attributesLow` (the lower half of stx_attributes). */
export const STATX_ATTR = {
  COMPRESSED: 0x4,
  IMMUTABLE: 0x10,
  APPEND: 0x20,
  ENCRYPTED: 0x800,
  MOUNT_ROOT: 0x2000,
  VERITY: 0x100000,
  DAX: 0x200000,
} as const

const S_IFMT = 0o170000
const S_IFREG = 0o100000
export const S_IFDIR = 0o040000
const S_IFLNK = 0o120000
export const S_ISUID = 0o4000
export const S_ISGID = 0o2000
export const S_IXGRP = 0o010

const statxCall = libc<[fd: number, path: Pointer, flags: number, mask: number, out: Pointer]>('statx', 'int', [
  'int',
  'void*',
  'int',
  'uint',
  'void*',
])
const emptyPath = cString('')
const TWO_32 = 2 ** 32

/** A struct statx and its fields as numbers. 64-bit fields that identify (inode numbers) come as two halves. */
export class Statx {
  readonly words = new Uint32Array(64)
  readonly #shorts = new Uint16Array(this.words.buffer)

  get mask(): number {
    return this.words[0]!
  }
  get blksize(): number {
    return this.words[1]!
  }
  get attributesLow(): number {
    return this.words[2]!
  }
  /** The file is accessed directly (DAX), see linux/dax.ts. */
  get isDax(): boolean {
    return (this.attributesLow & STATX_ATTR.DAX) !== 0
  }
  /** Something is mounted on the file or directory, which is the root of what is. */
  get isMountRoot(): boolean {
    return (this.attributesLow & STATX_ATTR.MOUNT_ROOT) !== 0
  }
  get nlink(): number {
    return this.words[4]!
  }
  get uid(): number {
    return this.words[5]!
  }
  get gid(): number {
    return this.words[6]!
  }
  get mode(): number {
    return this.#shorts[14]!
  }
  /** For records that describe no file of the kernel's, or describe one otherwise: as are the other setters. */
  setMode(mode: number): void {
    this.#shorts[14] = mode
  }
  setMask(mask: number): void {
    this.words[0] = mask
  }
  setNlink(nlink: number): void {
    this.words[4] = nlink
  }
  setIno(low: number, high: number): void {
    this.words[8] = low
    this.words[9] = high
  }
  setEmpty(): void {
    this.words.fill(0, 10, 14) // size, blocks
  }
  get inoLow(): number {
    return this.words[8]!
  }
  get inoHigh(): number {
    return this.words[9]!
  }
  /** The inode number as a float: exact below 2^53, which every inode number of XFS, btrfs and ext4 is in practice, but not each of overlayfs. */
  get ino(): number {
    return this.words[9]! * TWO_32 + this.words[8]!
  }
  /** Bytes. */
  get size(): number {
    return this.words[11]! * TWO_32 + this.words[10]!
  }
  get sizeLow(): number {
    return this.words[10]!
  }
  get sizeHigh(): number {
    return this.words[11]!
  }
  /** Blocks of 512 bytes. */
  get blocks(): number {
    return this.words[13]! * TWO_32 + this.words[12]!
  }
  /** Seconds since the epoch, whole; with {@link ctimeNsec} the instant of the last change. */
  get ctimeSec(): number {
    return (this.words[25]! | 0) * TWO_32 + this.words[24]!
  }
  /** The lower half of {@link ctimeSec}, for records of 32 bits. */
  get ctimeSecLow(): number {
    return this.words[24]!
  }
  get ctimeNsec(): number {
    return this.words[26]!
  }
  get mtimeSec(): number {
    return (this.words[29]! | 0) * TWO_32 + this.words[28]!
  }
  get mtimeNsec(): number {
    return this.words[30]!
  }
  get rdevMajor(): number {
    return this.words[32]!
  }
  get rdevMinor(): number {
    return this.words[33]!
  }
  get devMajor(): number {
    return this.words[34]!
  }
  get devMinor(): number {
    return this.words[35]!
  }
  /** The mount that the file was reached through; 0 where the kernel (before 5.8) does not say: see mount-id.ts. */
  get mountId(): number {
    return this.mask & STATX_MNT_ID ? this.words[37]! * TWO_32 + this.words[36]! : 0
  }
  /** The id that no other mount has had, or will have, after {@link ofMount}; 0 where the kernel (before 6.8) does not say. */
  get uniqueMountId(): number {
    return this.mask & STATX_MNT_ID_UNIQUE ? this.words[37]! * TWO_32 + this.words[36]! : 0
  }
  setMountId(id: number): void {
    this.words[0]! |= STATX_MNT_ID
    this.words[36] = id
    this.words[37] = Math.floor(id / TWO_32)
  }
  get isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR
  }
  /** A FIFO, socket or device. */
  get isSpecial(): boolean {
    return !this.isDirectory && !this.isFile && (this.mode & S_IFMT) !== S_IFLNK
  }
  get isFile(): boolean {
    return (this.mode & S_IFMT) === S_IFREG
  }

  /** Stats what `fd` is open on (O_PATH will do). Returns 0 or -errno. */
  ofFd(fd: number, mask: number = STATX_BASIC_STATS | STATX_MNT_ID): number {
    return errnoOf(statxCall(fd, emptyPath, AT_EMPTY_PATH, mask, this.words))
  }

  /** For {@link uniqueMountId} alone of what `fd` is open on: no server of the file system is asked. Returns 0 or -errno. */
  ofMount(fd: number): number {
    return errnoOf(statxCall(fd, emptyPath, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID_UNIQUE, this.words))
  }

  /** Stats `name` (NUL-terminated bytes) in the directory `dirFd`, not following a symlink. Returns 0 or -errno. */
  at(dirFd: number, name: Pointer, mask: number = STATX_BASIC_STATS | STATX_MNT_ID): number {
    return errnoOf(statxCall(dirFd, name, AT_SYMLINK_NOFOLLOW, mask, this.words))
  }
}

/** Stats a path, following symlinks; throws a SystemError. For code that is not hot. */
export function statxPath(path: string): Statx {
  const out = new Statx()
  check(statxCall(AT_FDCWD, cString(path), 0, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, out.words), 'statx', path)
  return out
}
