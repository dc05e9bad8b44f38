/** CREATE, TMPFILE, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME: names come and go. */

import type { Reply, Request } from '../../fuse/messages.ts'
import { ENTRY_OUT_BYTES, OPEN_OUT_BYTES, type OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_TMPFILE, openat, reopen } from '../../linux/file.ts'
import { linkFd, mkdirat, mknodat, renameat2, rmdirat, symlinkat, unlinkat } from '../../linux/names.ts'
import { cString } from '../../linux/native.ts'
import type { Credentials } from '../credentials.ts'
import { SLOT } from '../inode-table.ts'
import { flagsBelow } from '../open-flags.ts'
import { isTableNearlyFull } from '../pruning.ts'
import { SERVED } from '../serving.ts'
import { freeSlot } from './attributes.ts'
import { type Context, setEntry, slotOf, withPinned } from './context.ts'

const HERE = cString('.')
const RENAME_WHITEOUT = 4

export function creatingHandlers(context: Context, credentials: Credentials): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, opening, options, stat } = context

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
      const error = credentials.as(request, umask, () => make(dirFd))
      if (error < 0) return error
      const slot = files.lookUpIn(parent, dirFd, name, stat)
      return slot < 0 ? slot : setEntry(context, slot, reply, 0)
    })
  }

  /** Makes a file and opens it: by name where there is one. Answers with its entry and the open file. */
  function createOpen(request: Request, reply: Reply, name: Uint8Array | undefined): number {
    const parent = slotOf(request.nodeid)
    if (isTableNearlyFull(inodes)) return -ERRNO.ENFILE
    const flags = request.u32(0)
    const mode = request.u32(4)
    // A file of that name that the kernel did not know of: it is to look again, and open that.
    const kind = name === undefined ? O_TMPFILE | (flags & O_EXCL) : O_CREAT | O_EXCL | O_NOFOLLOW
    // What is passed through needs a descriptor for reading, and for the moment only. Who makes a file may open it in any way, whatever its mode.
    const passes = options.passthrough && name !== undefined
    return withPinned(context, parent, (dirFd) => {
      if (!passes && !files.canOpenForClient(dirFd)) return -ERRNO.ENFILE
      let fd = credentials.as(request, request.u32(8), () =>
        openat(dirFd, name ?? HERE, (passes ? O_RDONLY : flagsBelow(flags)) | kind, mode),
      )
      if (fd < 0) return fd === -ERRNO.EEXIST && (flags & O_EXCL) === 0 ? -ERRNO.ESTALE : fd
      const slot = files.lookUpOpen(parent, fd, stat)
      if (slot < 0) {
        close(fd)
        return slot
      }
      const lock = inodes.lockOf(slot)
      lock.lock()
      let error = 0
      try {
        if (inodes.get(slot, SLOT.OPENS) === 0) opening.decide(slot, SERVED.PRIVATE, stat, false, 0)
        // Somebody has opened it already, in another way: then this one is to open it too, as what it is.
        else if (context.serving.kind(slot) !== SERVED.PRIVATE) error = -ERRNO.ESTALE
        if (error === 0 && passes && !opening.passThrough(slot, fd, stat)) {
          const own = files.canOpenForClient(dirFd) ? reopen(fd, flagsBelow(flags)) : -ERRNO.ENFILE
          if (own < 0) error = own
          else {
            close(fd)
            fd = own
          }
        }
        if (error === 0) opening.open(slot, fd, flags, reply, stat, ENTRY_OUT_BYTES)
      } finally {
        lock.unlock()
      }
      if (error < 0) {
        close(fd)
        if (inodes.forget(slot, 1)) freeSlot(context, slot)
        return error
      }
      return setEntry(context, slot, reply, 0) + OPEN_OUT_BYTES
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
    CREATE: (request, reply) => createOpen(request, reply, request.name(16)),
    TMPFILE: (request, reply) => createOpen(request, reply, undefined),

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
    RMDIR: (request) => withPinned(context, slotOf(request.nodeid), (dirFd) => rmdirat(dirFd, request.name())),
    RENAME: (request) => rename(request, 0, 8),
    RENAME2: (request) => rename(request, request.u32(8), 16),
  }
}
