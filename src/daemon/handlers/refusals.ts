/** Requests that this mount answers with an error, each with the one that a program expects from a file system that can't do it. */

import type { OpcodeName } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import type { Context } from './context.ts'

const CHANGES = [
  'SETATTR',
  'SYMLINK',
  'MKNOD',
  'MKDIR',
  'UNLINK',
  'RMDIR',
  'RENAME',
  'RENAME2',
  'LINK',
  'WRITE',
  'SETXATTR',
  'REMOVEXATTR',
  'CREATE',
  'FALLOCATE',
  'COPY_FILE_RANGE',
  'TMPFILE',
] as const satisfies readonly OpcodeName[]

export function refusalHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const handlers: Partial<Record<OpcodeName, Handler>> = {
    /** The kernel then answers polls itself: regular files are always ready. */
    POLL: () => -ERRNO.ENOSYS,
    /** Needs a block device below the mount. */
    BMAP: () => -ERRNO.ENOSYS,
    /** Locks are kept by the kernel, among the users of this mount. */
    GETLK: () => -ERRNO.ENOSYS,
    SETLK: () => -ERRNO.ENOSYS,
    SETLKW: () => -ERRNO.ENOSYS,
    /** Nothing to flush: nobody writes. ENOSYS tells the kernel not to ask again. */
    FLUSH: () => -ERRNO.ENOSYS,
    FSYNC: () => -ERRNO.ENOSYS,
    FSYNCDIR: () => -ERRNO.ENOSYS,
    SYNCFS: () => -ERRNO.ENOSYS,
    DESTROY: () => 0,
    INTERRUPT(request) {
      // What a worker has in hand is beyond interruption, as a read from a local disk is; what waits at the keeper is not.
      const message = { type: 'interrupt', uniqueLow: request.u32(0), uniqueHigh: request.u32(4) } as const
      context.tellKeeper(message)
      if (!context.granted.isEmpty) context.grants(message)
      return NO_REPLY
    },
  }
  for (const name of CHANGES) handlers[name] = () => -ERRNO.EROFS
  return handlers
}
