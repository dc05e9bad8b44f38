/** CREATE, TMPFILE: a file is made and opened at once. */
import type { Reply, Request } from '../../fuse/messages.ts'
import { ENTRY_OUT_BYTES, IN, OPEN_OUT_BYTES, type OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ftruncate } from '../../linux/change.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_TMPFILE, O_TRUNC, openat, reopen } from '../../linux/file.ts'
import { cString } from '../../linux/native.ts'
import type { Credentials } from '../credentials.ts'
import { SLOT } from '../inode-table.ts'
import { flagsBelow } from '../open-flags.ts'
import { isTableNearlyFull } from '../pruning.ts'
import { SERVED } from '../slot-serving.ts'
import { type Context, setEntry, slotOf, withPinned } from './context.ts'
import { freeSlot } from './lookup.ts'

const HERE = cString('.')

export function creatingOpenHandlers(context: Context, credentials: Credentials): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, opening, options, serving, toldStale, stat } = context

  /** Makes a file and opens it: by name where there is one. Answers with its entry and the open file. */
  function createOpen(request: Request, reply: Reply, name: Uint8Array | undefined): number {
    const parent = slotOf(request.nodeid)
    if (isTableNearlyFull(inodes)) return -ERRNO.ENFILE
    const flags = request.u32(IN.CREATE.flags)
    const mode = request.u32(IN.CREATE.mode)
    // A file of that name that the kernel did not know of: it is to look again, and open that.
    const kind = name === undefined ? O_TMPFILE | (flags & O_EXCL) : O_CREAT | O_EXCL | O_NOFOLLOW
    // What is passed through needs a descriptor for reading, and for the moment only. Who makes a file may open it in any way, whatever its mode.
    const passes = options.passthrough && name !== undefined
    return withPinned(context, parent, (dirFd) => {
      if (!passes && !files.canOpenForClient(dirFd)) return -ERRNO.ENFILE
      const fd = credentials.creating(request, request.u32(IN.CREATE.umask), dirFd, () =>
        openat(dirFd, name ?? HERE, (passes ? O_RDONLY : flagsBelow(flags)) | kind, mode),
      )
      if (fd === -ERRNO.EEXIST && name !== undefined && (flags & O_EXCL) === 0)
        return toldStale.makesMissed(request.pid, parent) ? openExisting(request, reply, dirFd, name) : -ERRNO.ESTALE
      if (fd < 0) return fd
      return answer(parent, fd, reply, (slot) => openMade(slot, fd, dirFd, flags, passes, reply))
    })
  }

  /** Answers with the entry of what `fd` is open on, and what `open` makes of it, under the slot's lock; with an error, -errno, `fd` is closed. */
  function answer(parent: number, fd: number, reply: Reply, open: (slot: number) => number): number {
    const slot = files.lookUpOpen(parent, fd, stat)
    if (slot < 0) {
      close(fd)
      return slot
    }
    const error = inodes.lockOf(slot).locked(() => open(slot))
    if (error < 0) {
      close(fd)
      if (inodes.forget(slot, 1)) freeSlot(context, slot)
      return error
    }
    return setEntry(context, slot, reply, 0) + OPEN_OUT_BYTES
  }

  /**
   * Somebody has made the file each time that the kernel had found none, and it does not look a third time: the client opens what there is now, or makes it. The kernel takes it to be made, and checks nothing:
   * it is opened below as the client, who is refused there, and cut here.
   */
  function openExisting(request: Request, reply: Reply, dirFd: number, name: Uint8Array): number {
    const flags = request.u32(IN.CREATE.flags)
    // Of what is no file opening can have effects.
    if (stat.at(dirFd, name) === 0 && !stat.isFile) return -ERRNO.ESTALE
    if (!files.canOpenForClient(dirFd)) return -ERRNO.ENFILE
    const fd = credentials.as(request, request.u32(IN.CREATE.umask), () =>
      openat(dirFd, name, flagsBelow(flags) | O_CREAT | O_NOFOLLOW, request.u32(IN.CREATE.mode)),
    )
    // A link, or one with a lease.
    if (fd < 0) return fd === -ERRNO.ELOOP || fd === -ERRNO.EAGAIN ? -ERRNO.ESTALE : fd
    return answer(slotOf(request.nodeid), fd, reply, (slot) => {
      if (!stat.isFile || opening.isGranted(slot) || !isOrBecomesPrivate(slot)) return -ERRNO.ESTALE
      if (opening.wouldPassAppender(slot, stat, flags)) return -ERRNO.ESTALE
      const error = flags & O_TRUNC ? credentials.as(request, 0, () => ftruncate(fd, 0)) || stat.ofFd(fd) : 0
      if (error === 0) opening.open(slot, fd, flags, reply, stat, ENTRY_OUT_BYTES)
      return error
    })
  }

  /** Under the slot's lock. Somebody may have opened it in another way: then it is to be opened as what it is. */
  function isOrBecomesPrivate(slot: number): boolean {
    if (inodes.get(slot, SLOT.OPENS) === 0) opening.decide(slot, SERVED.PRIVATE, stat, false, 0)
    return serving.kind(slot) === SERVED.PRIVATE
  }

  /** Under the slot's lock: opens the file, which was made in `dirFd`, by `fd`. That passes to the open file, or is kept, or closed; with an error, -errno, it stays the caller's. */
  function openMade(slot: number, fd: number, dirFd: number, flags: number, passes: boolean, reply: Reply): number {
    if (!isOrBecomesPrivate(slot)) return -ERRNO.ESTALE
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
    CREATE: (request, reply) => createOpen(request, reply, request.name(IN.CREATE.body)),
    TMPFILE: (request, reply) => createOpen(request, reply, undefined),
  }
}
