/**
 * The FUSE wire protocol as numbers: versions, flags, sizes and offsets of every structure that
 * is needed, each stated once. Source: the kernel's include/uapi/linux/fuse.h; all integers are
 * little-endian here, and all 64-bit fields are aligned to 8 bytes.
 *
 * ```
 * struct fuse_in_header   len u32 @0 · opcode u32 @4 · unique u64 @8 · nodeid u64 @16 · uid u32 @24 · gid u32 @28
 *                         pid u32 @32 · total_extlen u16 @36 · padding u16 @38                          40 bytes
 * struct fuse_out_header  len u32 @0 · error s32 @4 · unique u64 @8                                      16 bytes
 * struct fuse_attr        ino u64 @0 · size u64 @8 · blocks u64 @16 · atime, mtime, ctime u64 @24, @32, @40
 *                         atimensec, mtimensec, ctimensec u32 @48, @52, @56 · mode u32 @60 · nlink u32 @64
 *                         uid u32 @68 · gid u32 @72 · rdev u32 @76 · blksize u32 @80 · flags u32 @84     88 bytes
 * struct fuse_entry_out   nodeid u64 @0 · generation u64 @8 · entry_valid u64 @16 · attr_valid u64 @24
 *                         entry_valid_nsec u32 @32 · attr_valid_nsec u32 @36 · attr @40                 128 bytes
 * ```
 */

export const KERNEL_VERSION = 7
/** The newest minor version that this server speaks; an older kernel is answered in its own. */
export const MINOR_VERSION_MAX = 45
/** The oldest: Linux 5.4 (FUSE_INIT with 64-bit clean layouts, max_pages, READDIRPLUS, LSEEK). */
export const MINOR_VERSION_MIN = 31

export const IN_HEADER_BYTES = 40
export const OUT_HEADER_BYTES = 16
export const ATTR_BYTES = 88
export const ENTRY_OUT_BYTES = 128
export const DIRENT_HEADER_BYTES = 24
export const ATTR_OUT_BYTES = 104
export const STATX_OUT_BYTES = 288
export const OPEN_OUT_BYTES = 16
export const STATFS_OUT_BYTES = 80
export const INIT_OUT_BYTES = 64
export const LSEEK_OUT_BYTES = 8
export const XATTR_SIZE_OUT_BYTES = 8
export const WRITE_OUT_BYTES = 8
export const IOCTL_OUT_BYTES = 16
export const LK_OUT_BYTES = 24
/** What comes in front of the name in a SETXATTR: `setxattr_flags` are there only where INIT.SETXATTR_EXT was agreed. */
export const SETXATTR_IN_BYTES = { extended: 16, compat: 8 } as const

/**
 * Where the fields of a request lie behind its header, by the header's names. `…Upper`: the upper half of a handle; `body`: where what has no fixed length begins, the structure's size.
 *
 * What is used for each request should be a constant of its module (`const { offset: OFFSET } = IN.READ`), see cache/lookup.ts.
 */
export const IN = {
  SETATTR: {
    valid: 0,
    fh: 8,
    fhUpper: 12,
    size: 16,
    atime: 32,
    mtime: 40,
    atimensec: 56,
    mtimensec: 60,
    mode: 68,
    uid: 76,
    gid: 80,
  },
  OPEN: { flags: 0 },
  READ: { fh: 0, offset: 8, size: 16, readFlags: 20, flags: 32 },
  WRITE: { fh: 0, fhUpper: 4, offset: 8, size: 16, writeFlags: 20, flags: 32, body: 40 },
  RELEASE: { fh: 0, fhUpper: 4, flags: 8 },
  CREATE: { flags: 0, mode: 4, umask: 8, body: 16 },
  IOCTL: { fhUpper: 4, cmd: 12, inSize: 24, outSize: 28, body: 32 },
  FALLOCATE: { fh: 0, offset: 8, length: 16, mode: 24 },
  COPY_FILE_RANGE: { fhIn: 0, offIn: 8, nodeidOut: 16, fhOut: 24, fhOutUpper: 28, offOut: 32, len: 40 },
} as const

/** The same, of an answer. */
export const OUT = {
  OPEN: { fh: 0, fhUpper: 4, openFlags: 8, backingId: 12 },
} as const

/** INIT flags: the lower 32 (`flags`). */
export const INIT = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1,
  EXPORT_SUPPORT: 1 << 4,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  FLOCK_LOCKS: 1 << 10,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  POSIX_ACL: 1 << 20,
  ABORT_ERROR: 1 << 21,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  EXPLICIT_INVAL_DATA: 1 << 25,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const

/** INIT flags: the upper 32 (`flags2`), each as its bit number less 32. */
export const INIT2 = {
  DIRECT_IO_ALLOW_MMAP: 1 << 4,
  PASSTHROUGH: 1 << 5,
  NO_EXPORT_SUPPORT: 1 << 6,
} as const

export const FOPEN = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  CACHE_DIR: 1 << 3,
  /** Writes in place do not exclude each other: one that waits holds up no other. */
  PARALLEL_DIRECT_WRITES: 1 << 6,
  PASSTHROUGH: 1 << 7,
} as const

/**
 * Set on reads that a process asked for; not set where the kernel fills its own page cache (mmap, exec). So
 * this bit tells which reads leave a kernel copy behind.
 */
export const READ_LOCKOWNER = 1 << 1

/** Set on writes of pages that were stored to through a shared mapping: they go where they say, also with O_APPEND. */
export const WRITE_CACHE = 1 << 0

/** Set on writes of a client without CAP_FSETID: the file's set-id bits go. */
export const WRITE_KILL_SUIDGID = 1 << 2

/** What a SETATTR changes (`valid`). */
export const FATTR = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  KILL_SUIDGID: 1 << 11,
} as const

/** In the flags of a SETXATTR of an access ACL: the caller is not in the file's group, so the set-group-id bit goes. */
export const SETXATTR_ACL_KILL_SGID = 1 << 0

/** In a GETLK, SETLK or SETLKW: flock(2), not fcntl(2). */
export const LK_FLOCK = 1 << 0

export const FSYNC_FDATASYNC = 1 << 0

export const NOTIFY = { INVAL_INODE: 2, INVAL_ENTRY: 3, INC_EPOCH: 8, PRUNE: 9 } as const
/** Flag of INVAL_ENTRY: whoever uses the name next asks, and nothing is taken from those who use it now. */
export const EXPIRE_ONLY = 1
/** From then on the kernel knows INC_EPOCH (Linux 6.16). */
export const MINOR_VERSION_EPOCH = 44

/** One row per opcode: its name in traces and metrics, and the least bytes that must follow the header. */
interface Opcode {
  readonly code: number
  readonly name: string
  readonly bytesMin: number
  /** The kernel expects no answer. */
  readonly silent?: true
}

const rows = [
  { code: 1, name: 'LOOKUP', bytesMin: 2 },
  { code: 2, name: 'FORGET', bytesMin: 8, silent: true },
  { code: 3, name: 'GETATTR', bytesMin: 16 },
  { code: 4, name: 'SETATTR', bytesMin: 88 },
  { code: 5, name: 'READLINK', bytesMin: 0 },
  { code: 6, name: 'SYMLINK', bytesMin: 4 },
  { code: 8, name: 'MKNOD', bytesMin: 18 },
  { code: 9, name: 'MKDIR', bytesMin: 10 },
  { code: 10, name: 'UNLINK', bytesMin: 2 },
  { code: 11, name: 'RMDIR', bytesMin: 2 },
  { code: 12, name: 'RENAME', bytesMin: 12 },
  { code: 13, name: 'LINK', bytesMin: 10 },
  { code: 14, name: 'OPEN', bytesMin: 8 },
  { code: 15, name: 'READ', bytesMin: 40 },
  { code: 16, name: 'WRITE', bytesMin: 40 },
  { code: 17, name: 'STATFS', bytesMin: 0 },
  { code: 18, name: 'RELEASE', bytesMin: 24 },
  { code: 20, name: 'FSYNC', bytesMin: 16 },
  { code: 21, name: 'SETXATTR', bytesMin: 10 },
  { code: 22, name: 'GETXATTR', bytesMin: 10 },
  { code: 23, name: 'LISTXATTR', bytesMin: 8 },
  { code: 24, name: 'REMOVEXATTR', bytesMin: 2 },
  { code: 25, name: 'FLUSH', bytesMin: 24 },
  { code: 26, name: 'INIT', bytesMin: 16 },
  { code: 27, name: 'OPENDIR', bytesMin: 8 },
  { code: 28, name: 'READDIR', bytesMin: 40 },
  { code: 29, name: 'RELEASEDIR', bytesMin: 24 },
  { code: 30, name: 'FSYNCDIR', bytesMin: 16 },
  { code: 31, name: 'GETLK', bytesMin: 48 },
  { code: 32, name: 'SETLK', bytesMin: 48 },
  { code: 33, name: 'SETLKW', bytesMin: 48 },
  { code: 34, name: 'ACCESS', bytesMin: 8 },
  { code: 35, name: 'CREATE', bytesMin: 18 },
  { code: 36, name: 'INTERRUPT', bytesMin: 8, silent: true },
  { code: 37, name: 'BMAP', bytesMin: 16 },
  { code: 38, name: 'DESTROY', bytesMin: 0 },
  { code: 39, name: 'IOCTL', bytesMin: 32 },
  { code: 40, name: 'POLL', bytesMin: 24 },
  { code: 42, name: 'BATCH_FORGET', bytesMin: 8, silent: true },
  { code: 43, name: 'FALLOCATE', bytesMin: 32 },
  { code: 44, name: 'READDIRPLUS', bytesMin: 40 },
  { code: 45, name: 'RENAME2', bytesMin: 20 },
  { code: 46, name: 'LSEEK', bytesMin: 24 },
  { code: 47, name: 'COPY_FILE_RANGE', bytesMin: 56 },
  { code: 50, name: 'SYNCFS', bytesMin: 8 },
  { code: 51, name: 'TMPFILE', bytesMin: 18 },
  { code: 52, name: 'STATX', bytesMin: 24 },
] as const satisfies readonly Opcode[]

export type OpcodeName = (typeof rows)[number]['name']

/** The opcodes by number; holes are undefined. */
export const OPCODES: readonly (Opcode | undefined)[] = (() => {
  const table: (Opcode | undefined)[] = new Array(64).fill(undefined)
  for (const row of rows) table[row.code] = row
  return table
})()

export const OPCODE_ROWS: readonly (Opcode & { readonly name: OpcodeName })[] = rows
