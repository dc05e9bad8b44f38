/** GETXATTR, LISTXATTR. */
import type { Reply } from '../../fuse/messages.ts'
import { type OpcodeName, XATTR_SIZE_OUT_BYTES } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { getxattr, listxattr } from '../../linux/xattr.ts'
import { type Context, withShown } from './context.ts'

const TRUSTED = Buffer.from('trusted.')

export function xattrHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  return {
    GETXATTR(request, reply) {
      const size = request.u32(0)
      const length = withShown(context, request.nodeid, (fd) =>
        getxattr(fd, request.name(8), reply.payload, Math.min(size, reply.capacity)),
      )
      return xattrReply(reply, length, size)
    },

    LISTXATTR(request, reply) {
      const size = request.u32(0)
      if (request.uid === 0) {
        const length = withShown(
          context,
          request.nodeid,
          (fd) => listxattr(fd, reply.payload, Math.min(size, reply.capacity)),
          0,
        )
        return xattrReply(reply, length, size)
      }
      const length = withShown(context, request.nodeid, (fd) => listxattr(fd, reply.payload, reply.capacity), 0)
      const shown = length < 0 ? length : withoutTrusted(reply.payload, length)
      return size > 0 && shown > size ? -ERRNO.ERANGE : xattrReply(reply, shown, size)
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
