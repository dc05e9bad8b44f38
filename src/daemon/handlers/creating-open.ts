/** CREATE, TMPFILE: a file is made and opened at once. */
import type { Reply, Request } from '../../fuse/messages.ts'
import { ENTRY_OUT_BYTES, OPEN_OUT_BYTES, type OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_TMPFILE, openat, reopen } from '../../linux/file.ts'
import { cString } from '../../linux/native.ts'
import type { Credentials } from '../credentials.ts'
import { SLOT } from '../inode-table.ts'
import { flagsBelow } from '../open-flags.ts'
import { isTableNearlyFull } from '../pruning.ts'
import { SERVED } from '../serving.ts'
import { type Context, setEntry, slotOf, withPinned } from './context.ts'
import { freeSlot } from './lookup.ts'

const HERE = cString('.')

export function creatingOpenHandlers(context: Context, credentials: Credentials): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, opening, options, serving, stat } = context

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
      const fd = credentials.as(request, request.u32(8), () =>
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
      let error: number
      try {
        error = openMade(slot, fd, dirFd, flags, passes, reply)
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

  /** Under the slot's lock: opens the file, which was made in `dirFd`, by `fd`. That passes to the open file, or is kept, or closed; with an error, -errno, it stays the caller's. */
  function openMade(slot: number, fd: number, dirFd: number, flags: number, passes: boolean, reply: Reply): number {
    if (inodes.get(slot, SLOT.OPENS) === 0) opening.decide(slot, SERVED.PRIVATE, stat, false, 0)
    // Somebody has opened it already, in another way: then this one is to open it too, as what it is.
    else if (serving.kind(slot) !== SERVED.PRIVATE) return -ERRNO.ESTALE
    let ownFd = fd
    if (passes && !opening.passThrough(slot, fd, stat)) {
      ownFd = files.canOpenForClient(dirFd) ? reopen(fd, flagsBelow(flags)) : -ERRNO.ENFILE
      if (ownFd < 0) return ownFd
      close(fd)
    }
    opening.open(slot, ownFd, flags, reply, stat, ENTRY_OUT_BYTES)
    return 0
  }

  return {
    CREATE: (request, reply) => createOpen(request, reply, request.name(16)),
    TMPFILE: (request, reply) => createOpen(request, reply, undefined),
  }
}
