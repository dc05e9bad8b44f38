/** MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME: names come and go. */

import type { Reply, Request } from '../../fuse/messages.ts'
import type { OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close } from '../../linux/file.ts'
import { linkFd, mkdirat, mknodat, renameat2, rmdirat, symlinkat, unlinkat } from '../../linux/names.ts'
import type { Credentials } from '../credentials.ts'
import { isTableNearlyFull } from '../pruning.ts'
import { type Context, setEntry, slotOf, withPinned } from './context.ts'

const RENAME_WHITEOUT = 4

export function creatingHandlers(context: Context, credentials: Credentials): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, stat } = context

  /** Makes `name` in the request's directory by `make`, as the client, and answers with its entry. */
  function create(
    request: Request,
    reply: Reply,
    name: Uint8Array,
    umask: number,
    make: (dirFd: number) => number,
  ): number {
    const parent = slotOf(request.nodeid)
    if (isTableNearlyFull(inodes)) return -ERRNO.ENFILE
    return withPinned(context, parent, (dirFd) => {
      const error = credentials.creating(request, umask, dirFd, () => make(dirFd))
      if (error < 0) return error
      const slot = files.lookUpIn(parent, dirFd, name, stat)
      return slot < 0 ? slot : setEntry(context, slot, reply, 0)
    })
  }

  function rename(request: Request, flags: number, namesAt: number): number {
    const from = request.name(namesAt)
    const to = request.name(namesAt + from.length)
    return withPinned(context, slotOf(request.nodeid), (fromFd) =>
      withPinned(context, slotOf(request.u64(0)), (toFd) => {
        const call = () => renameat2(fromFd, from, toFd, to, flags)
        // What is left in the place is the client's.
        return flags & RENAME_WHITEOUT ? credentials.as(request, 0, call) : call()
      }),
    )
  }

  return {
    MKNOD(request, reply) {
      const name = request.name(16)
      const mode = request.u32(0)
      const device = request.u32(4)
      return create(request, reply, name, request.u32(8), (dirFd) => mknodat(dirFd, name, mode, device))
    },

    MKDIR(request, reply) {
      const name = request.name(8)
      const mode = request.u32(0)
      return create(request, reply, name, request.u32(4), (dirFd) => mkdirat(dirFd, name, mode))
    },

    SYMLINK(request, reply) {
      const name = request.name(0)
      const target = request.name(name.length)
      return create(request, reply, name, 0, (dirFd) => symlinkat(target, dirFd, name))
    },

    /** As the daemon: only root may link what it holds by descriptor, and whether the client may has been checked. */
    LINK(request, reply) {
      const parent = slotOf(request.nodeid)
      const name = request.name(8)
      return withPinned(context, parent, (dirFd) => {
        const error = withPinned(context, slotOf(request.u64(0)), (fd) => linkFd(fd, dirFd, name))
        if (error < 0) return error
        const slot = files.lookUpIn(parent, dirFd, name, stat)
        return slot < 0 ? slot : setEntry(context, slot, reply, 0)
      })
    },

    UNLINK: (request) => withPinned(context, slotOf(request.nodeid), (dirFd) => unlinkat(dirFd, request.name())),

    RMDIR(request) {
      const parent = slotOf(request.nodeid)
      const name = request.name()
      return withPinned(context, parent, (dirFd) => {
        const removed = files.openRemoved(parent, dirFd, name)
        const error = rmdirat(dirFd, name)
        if (removed >= 0 && error === 0) files.keepRemoved(removed, stat)
        else if (removed >= 0) close(removed)
        return error
      })
    },

    RENAME: (request) => rename(request, 0, 8),
    RENAME2: (request) => rename(request, request.u32(8), 16),
  }
}
