/**
 * The file handle that OPEN gives the kernel, and that comes back with each request by this open file.
 *
 * ```
 * lower half   a descriptor of the serving process, plus 1; 0: none; and SYNC_ONLY
 * upper half   what the locks of this open file are known by; and the marks OPEN_…: how the client opened it
 * ```
 */
import { O_ACCMODE, O_DSYNC, O_NONBLOCK, O_RDWR, O_SYNC } from '../linux/file.ts'

/** Set in the upper half of the handle of an open file that is for reading and writing: the kernel vouches for that. */
export const OPEN_BOTH_WAYS = 0x8000_0000
/** The same: it was opened with O_NONBLOCK, and waits for nobody's grant. */
export const OPEN_IMPATIENT = 0x4000_0000

/** The same: the file may be appended to, and nothing else, so whatever is written by its descriptor goes to the end. */
export const OPEN_APPEND_ONLY = 0x2000_0000

/** The same: it was opened with O_DSYNC, and with O_SYNC, so each write by its descriptor is on the disk when it returns. */
export const OPEN_DSYNC = 0x1000_0000
export const OPEN_SYNC = 0x0800_0000

/**
 * Set in the lower half of the handle of an open file that is passed through: there is a descriptor, which has been there for as long, so that fsync(2) by this open file, too, hears of
 * what could not be written back. It is for nothing else.
 */
export const SYNC_ONLY = 0x4000_0000

/** What the lower half of a handle says: the descriptor with which the open file is read and written here, plus 1; 0: none. */
export const ownHandle = (handle: number): number => ((handle & SYNC_ONLY) === 0 ? handle : 0)

/** The same, of the one by which it is synced. */
export const syncHandle = (handle: number): number => handle & ~SYNC_ONLY

/** What the upper half says: the number of the open file. */
export const openNumber = (upper: number): number => upper & (OPEN_SYNC - 1)

/** The marks of a file that is opened with `flags`. */
export const marksOf = (flags: number): number =>
  ((flags & O_ACCMODE) === O_RDWR ? OPEN_BOTH_WAYS : 0) |
  ((flags & O_NONBLOCK) !== 0 ? OPEN_IMPATIENT : 0) |
  ((flags & O_DSYNC) !== 0 ? OPEN_DSYNC : 0) |
  ((flags & O_SYNC) === O_SYNC ? OPEN_SYNC : 0)
