/** SETATTR, SETXATTR, REMOVEXATTR: what is known of an inode changes. */

import type { Request } from '../../fuse/messages.ts'
import {
  ATTR_OUT_BYTES,
  FATTR,
  IN,
  type OpcodeName,
  SETXATTR_ACL_KILL_SGID,
  SETXATTR_IN_BYTES,
} from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { chmodFd, ftruncate, truncateFd, UTIME_NOW, UTIME_OMIT, utimensFd } from '../../linux/change.ts'
import { close, O_NONBLOCK, O_WRONLY } from '../../linux/file.ts'
import { removexattr, setxattr } from '../../linux/xattr.ts'
import { changeData } from '../changes.ts'
import type { Credentials } from '../credentials.ts'
import { SLOT } from '../inode-table.ts'
import { ownHandle } from '../open-handle.ts'
import { type Context, setAttr, setValidity, slotOf, withPinned } from './context.ts'
import { changeNothing, chownAndDropSetId, hasSetId } from './set-id.ts'

export function changingHandlers(context: Context, credentials: Credentials): Partial<Record<OpcodeName, Handler>> {
  const { files, filesystems, inodes, options, stat } = context
  const times = new BigInt64Array(4)

  function truncate(request: Request, valid: number): number {
    const slot = slotOf(request.nodeid)
    const handle = valid & FATTR.FH ? ownHandle(request.u32(IN.SETATTR.fh)) : 0
    const size = request.long(IN.SETATTR.size)
    // Whether the client may has been checked, when he opened it or now: the descriptor of one who may is not asked again.
    const fd = handle > 0 ? handle - 1 : files.open(slot, O_WRONLY | O_NONBLOCK)
    if (fd < 0) return fd
    // Behind the new end nothing is shared any more, in front of it nothing changes; zeros up to a larger size are the file's own.
    const cut = (call: typeof ftruncate) => changeData(context, slot, fd, Number(size), Infinity, () => call(fd, size))
    // Without an open file it is truncate(2), or O_TRUNC, which stamps the times also of what is empty already.
    const isByName = (valid & FATTR.FH) === 0 && size > 0
    const dropsSetId = valid & FATTR.KILL_SUIDGID && stat.ofFd(fd) === 0 && hasSetId(stat)
    // By name the client would be asked once more whether he may, who may by a capability.
    const error = dropsSetId ? credentials.as(request, 0, () => cut(ftruncate)) : cut(isByName ? truncateFd : ftruncate)
    if (handle === 0) close(fd)
    return error
  }

  function setTimes(request: Request, valid: number, fd: number): number {
    const { atime, mtime, atimensec, mtimensec } = IN.SETATTR
    times[0] = request.i64(atime)
    times[1] = timeOf(valid, FATTR.ATIME, FATTR.ATIME_NOW, request.u32(atimensec))
    times[2] = request.i64(mtime)
    times[3] = timeOf(valid, FATTR.MTIME, FATTR.MTIME_NOW, request.u32(mtimensec))
    return utimensFd(fd, times)
  }

  function shownIno(slot: number): bigint {
    const high = filesystems.shownInoHigh(inodes.get(slot, SLOT.FS), inodes.get(slot, SLOT.INO_HIGH))
    return (BigInt(high >>> 0) << 32n) | BigInt(inodes.get(slot, SLOT.INO_LOW) >>> 0)
  }

  return {
    SETATTR(request, reply) {
      const valid = request.u32(IN.SETATTR.valid)
      const slot = slotOf(request.nodeid)
      if (valid & FATTR.SIZE) {
        const error = truncate(request, valid)
        if (error < 0) return error
      }
      return withPinned(context, slot, (fd) => {
        let error = (valid & CHANGES) === 0 ? stat.ofFd(fd) : 0
        if (error === 0 && (valid & CHANGES) === 0)
          error = changeNothing(credentials, request, fd, stat, shownIno(slot))
        // Before the mode, which it may change.
        if (valid & (FATTR.UID | FATTR.GID))
          error = chownAndDropSetId(
            credentials,
            request,
            fd,
            stat,
            valid & FATTR.UID ? request.u32(IN.SETATTR.uid) : -1,
            valid & FATTR.GID ? request.u32(IN.SETATTR.gid) : -1,
          )
        if (error === 0 && valid & FATTR.MODE) error = chmodFd(fd, request.u32(IN.SETATTR.mode) & 0o7777)
        if (error === 0 && valid & (FATTR.ATIME | FATTR.MTIME)) error = setTimes(request, valid, fd)
        if (error === 0) error = stat.ofFd(fd)
        if (error < 0) return error
        reply.zero(0, 16)
        setValidity(context, slot, reply, 0, 8)
        setAttr(context, slot, reply, 16)
        return ATTR_OUT_BYTES
      })
    },

    SETXATTR(request) {
      const size = request.u32(0)
      const flags = request.u32(4)
      const nameAt = options.setxattrExt ? SETXATTR_IN_BYTES.extended : SETXATTR_IN_BYTES.compat
      const extraFlags = options.setxattrExt ? request.u32(8) : 0
      const name = request.name(nameAt)
      const value = request.data(nameAt + name.length, size)
      return withPinned(context, slotOf(request.nodeid), (fd) => {
        const set = () => setxattr(fd, name, value, size, flags)
        // With an ACL that an owner outside of the file's group sets, the file system takes the set-group-id bit away.
        return extraFlags & SETXATTR_ACL_KILL_SGID ? credentials.as(request, 0, set) : set()
      })
    },

    REMOVEXATTR: (request) => withPinned(context, slotOf(request.nodeid), (fd) => removexattr(fd, request.name())),
  }
}

/** All that a SETATTR can change. */
const CHANGES = FATTR.MODE | FATTR.UID | FATTR.GID | FATTR.SIZE | FATTR.ATIME | FATTR.MTIME

function timeOf(valid: number, isSet: number, isNow: number, nanoseconds: number): bigint {
  if ((valid & isSet) === 0) return UTIME_OMIT
  return valid & isNow ? UTIME_NOW : BigInt(nanoseconds)
}
