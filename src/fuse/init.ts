/** The first exchange with the kernel: both sides state what they speak; the answer settles it. */
import { ERRNO } from '../linux/errors.ts'
import type { Reply, Request } from './messages.ts'
import { INIT, INIT_OUT_BYTES, INIT2, KERNEL_VERSION, MINOR_VERSION_MAX, MINOR_VERSION_MIN } from './protocol.ts'

/** What was agreed with the kernel. */
export interface Session {
  minor: number
  passthrough: boolean
  directIoMmap: boolean
  /** SETXATTR comes with the longer header, see SETXATTR_IN_BYTES: kernels before Linux 5.13 do not offer it. */
  setxattrExt: boolean
  maxReadBytes: number
}

export interface InitWishes {
  passthrough: boolean
  posixAcl: boolean
  /** The mount can be written to. */
  writable: boolean
  maxReadBytes: number
}

const WANTED =
  INIT.ASYNC_READ |
  INIT.DO_READDIRPLUS |
  INIT.READDIRPLUS_AUTO |
  INIT.ASYNC_DIO |
  INIT.PARALLEL_DIROPS |
  INIT.ABORT_ERROR |
  INIT.MAX_PAGES |
  INIT.CACHE_SYMLINKS |
  INIT.EXPLICIT_INVAL_DATA |
  INIT.INIT_EXT

/**
 * So many requests of the kernel that nobody waits for, asynchronous direct I/O and reading ahead, are with the daemon at a time. Those that wait for a grant are among them, and hold up what comes after them, so there are
 * many; what is behind them in the queue, and what waiting writes take here, 1 MiB each, keeps them from being more.
 */
const BACKGROUND_MAX = 1024
/** From so many on the kernel reads less ahead. */
const CONGESTION = 48

/**
 * Answers INIT in `reply`. Returns the payload's bytes and fills `session`, or returns -EPROTO for a kernel older
 * than {@link MINOR_VERSION_MIN}. A kernel with a newer major version is answered with ours, and asks again.
 */
export function answerInit(request: Request, reply: Reply, wishes: InitWishes, session: Session): number {
  const major = request.u32(0)
  const minor = request.u32(4)
  reply.zero(0, INIT_OUT_BYTES)
  reply.setU32(0, KERNEL_VERSION)
  reply.setU32(4, MINOR_VERSION_MAX)
  if (major > KERNEL_VERSION) return INIT_OUT_BYTES
  if (major < KERNEL_VERSION || minor < MINOR_VERSION_MIN) return -ERRNO.EPROTO

  const offered = request.u32(12)
  const offered2 = (offered & INIT.INIT_EXT) !== 0 && request.length >= 40 + 20 ? request.u32(16) : 0
  let flags = offered & WANTED
  if (wishes.posixAcl) flags |= offered & INIT.POSIX_ACL
  // Locks: see locks/lock-table.ts. A read-only mount leaves them to the kernel, which keeps its closes cheap.
  if (wishes.writable) flags |= offered & (INIT.POSIX_LOCKS | INIT.FLOCK_LOCKS)
  // With it the kernel does not ask before each write whether there are privileges to drop: see handlers/set-id.ts.
  if (wishes.writable) flags |= offered & INIT.HANDLE_KILLPRIV_V2
  // The file system below applies umasks and default ACLs itself, and drops set-group-id bits with an ACL as it is used to.
  if (wishes.writable) flags |= offered & (INIT.BIG_WRITES | INIT.DONT_MASK | INIT.SETXATTR_EXT)
  let flags2 = offered2 & (INIT2.DIRECT_IO_ALLOW_MMAP | INIT2.NO_EXPORT_SUPPORT)
  if (wishes.passthrough) flags2 |= offered2 & INIT2.PASSTHROUGH

  session.minor = Math.min(minor, MINOR_VERSION_MAX)
  session.passthrough = (flags2 & INIT2.PASSTHROUGH) !== 0
  session.directIoMmap = (flags2 & INIT2.DIRECT_IO_ALLOW_MMAP) !== 0
  session.setxattrExt = (flags & INIT.SETXATTR_EXT) !== 0
  session.maxReadBytes = (flags & INIT.MAX_PAGES) !== 0 ? wishes.maxReadBytes : 128 << 10

  reply.setU32(4, session.minor)
  reply.setU32(8, Math.min(request.u32(8), session.maxReadBytes)) // max_readahead
  reply.setU32(12, flags)
  reply.setU32(16, BACKGROUND_MAX | (CONGESTION << 16)) // max_background, congestion_threshold
  reply.setU32(20, session.maxReadBytes) // max_write
  reply.setU32(24, 1) // time_gran: nanoseconds
  reply.setU32(28, session.maxReadBytes >> 12) // max_pages, map_alignment
  reply.setU32(32, flags2)
  reply.setU32(36, session.passthrough ? 1 : 0) // max_stack_depth
  return INIT_OUT_BYTES
}
