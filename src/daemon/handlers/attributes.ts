/** LOOKUP, FORGET, GETATTR, STATX, READLINK, xattrs, ACCESS, STATFS: what is asked of names and inodes. */

import type { Reply } from '../../fuse/messages.ts'
import {
  ATTR_OUT_BYTES,
  type OpcodeName,
  STATFS_OUT_BYTES,
  STATX_OUT_BYTES,
  XATTR_SIZE_OUT_BYTES,
} from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { readlinkat } from '../../linux/file.ts'
import { cString } from '../../linux/native.ts'
import { Statfs } from '../../linux/statfs.ts'
import { STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID } from '../../linux/statx.ts'
import { getxattr, listxattr } from '../../linux/xattr.ts'
import { SLOT } from '../inode-table.ts'
import { type Context, setAttr, setEntry, setValidity, slotOf, withPinned } from './context.ts'

const EMPTY = cString('')
const TRUSTED = Buffer.from('trusted.')

export function attributeHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, stat } = context
  const statfs = new Statfs()

  function forget(nodeid: number, count: number): void {
    const slot = slotOf(nodeid)
    if (inodes.isInUse(slot) && inodes.forget(slot, count)) freeSlot(context, slot)
  }

  /** Runs `call` with an O_PATH descriptor of the request's inode; where that has none because it is hidden, the answer is `hidden`. */
  function withFile(nodeid: number, call: (fd: number) => number, hidden: number = -ERRNO.ENODATA): number {
    const slot = slotOf(nodeid)
    return files.isHidden(slot) ? hidden : withPinned(context, slot, call)
  }

  return {
    LOOKUP(request, reply) {
      const slot = files.lookUp(slotOf(request.nodeid), request.name(), stat)
      if (slot < 0) return slot
      if (!stat.isDirectory) context.advice.fileWasLookedUp()
      return setEntry(context, slot, reply, 0)
    },

    FORGET(request) {
      forget(request.nodeid, request.u64(0))
      return NO_REPLY
    },

    BATCH_FORGET(request) {
      const count = request.u32(0)
      for (let i = 0; i < count; i++) forget(request.u64(8 + i * 16), request.u64(16 + i * 16))
      return NO_REPLY
    },

    GETATTR(request, reply) {
      const slot = slotOf(request.nodeid)
      const error = files.stat(slot, stat)
      if (error < 0) return error
      reply.zero(0, 16)
      setValidity(context, slot, reply, 0, 8)
      setAttr(context, slot, reply, 16)
      return ATTR_OUT_BYTES
    },

    /** As GETATTR, with the birth time: struct fuse_statx mirrors struct statx but for its device numbers. */
    STATX(request, reply) {
      const slot = slotOf(request.nodeid)
      const error = files.stat(slot, stat, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)
      if (error < 0) return error
      reply.zero(0, STATX_OUT_BYTES)
      setValidity(context, slot, reply, 0, 8)
      const OUT = 32
      for (let word = 0; word < 36; word++) reply.setU32(OUT + word * 4, stat.words[word]!)
      reply.setU32(OUT, stat.mask & (STATX_BASIC_STATS | STATX_BTIME))
      reply.setU32(OUT + 36, context.filesystems.shownInoHigh(inodes.get(slot, SLOT.FS), stat.inoHigh))
      return STATX_OUT_BYTES
    },

    READLINK(request, reply) {
      return withFile(request.nodeid, (fd) => readlinkat(fd, EMPTY, reply.payload, 4096))
    },

    GETXATTR(request, reply) {
      const size = request.u32(0)
      const length = withFile(request.nodeid, (fd) =>
        getxattr(fd, request.name(8), reply.payload, Math.min(size, reply.capacity)),
      )
      return xattrReply(reply, length, size)
    },

    LISTXATTR(request, reply) {
      const size = request.u32(0)
      if (request.uid === 0) {
        const length = withFile(request.nodeid, (fd) => listxattr(fd, reply.payload, Math.min(size, reply.capacity)), 0)
        return xattrReply(reply, length, size)
      }
      const length = withFile(request.nodeid, (fd) => listxattr(fd, reply.payload, reply.capacity), 0)
      const shown = length < 0 ? length : withoutTrusted(reply.payload, length)
      return size > 0 && shown > size ? -ERRNO.ERANGE : xattrReply(reply, shown, size)
    },

    /** The kernel checks permissions itself (default_permissions); it asks only where it does not. */
    ACCESS() {
      return -ERRNO.ENOSYS
    },

    STATFS(request, reply) {
      const slot = slotOf(request.nodeid)
      const error = files.isHidden(slot)
        ? statfs.ofFd(context.source.rootFd)
        : withFile(request.nodeid, (fd) => statfs.ofFd(fd))
      if (error < 0) return error
      reply.zero(0, STATFS_OUT_BYTES)
      reply.setFloat64(0, statfs.blocks)
      reply.setFloat64(8, statfs.bfree)
      reply.setFloat64(16, statfs.bavail)
      reply.setFloat64(24, statfs.files)
      reply.setFloat64(32, statfs.ffree)
      reply.setU32(40, statfs.bsize)
      reply.setU32(44, statfs.namelen)
      reply.setU32(48, statfs.frsize)
      return STATFS_OUT_BYTES
    },
  }
}

/** What the kernel asked for with `size` > 0 stands in `reply`; with 0 it wants to know how long it would be. */
function xattrReply(reply: Reply, length: number, size: number): number {
  if (length < 0 || size > 0) return length
  reply.setU64(0, length, 0)
  return XATTR_SIZE_OUT_BYTES
}

/**
 * Takes the names `trusted.…` out of a list of names; returns what is left of its length. File systems show them to administrators only, but
 * here they see the daemon ask, and the kernel's FUSE passes on what it is given.
 */
function withoutTrusted(list: Uint8Array, length: number): number {
  let kept = 0
  for (let at = 0, next: number; at < length; at = next) {
    next = list.indexOf(0, at) + 1
    if (TRUSTED.every((byte, i) => list[at + i] === byte)) continue
    list.copyWithin(kept, at, next)
    kept += next - at
  }
  return kept
}

export function freeSlot(context: Context, slot: number): void {
  const map = context.serving.reset(slot)
  if (map !== 0) context.tellKeeper({ type: 'unmap', map })
  context.warm.cool(slot)
  context.files.free(slot)
}
