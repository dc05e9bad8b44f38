/** GETATTR, STATX, READLINK, ACCESS, STATFS: what is asked of inodes. */

import { ATTR_OUT_BYTES, type OpcodeName, STATFS_OUT_BYTES, STATX_OUT_BYTES } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { readlinkat } from '../../linux/file.ts'
import { cString } from '../../linux/native.ts'
import { Statfs } from '../../linux/statfs.ts'
import { STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID } from '../../linux/statx.ts'
import { SLOT } from '../inode-table.ts'
import { type Context, setAttr, setValidity, slotOf, withShown } from './context.ts'

const EMPTY = cString('')

export function attributeHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, stat } = context
  const statfs = new Statfs()

  return {
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
      return withShown(context, request.nodeid, (fd) => readlinkat(fd, EMPTY, reply.payload, 4096))
    },

    /** The kernel checks permissions itself (default_permissions); it asks only where it does not. */
    ACCESS() {
      return -ERRNO.ENOSYS
    },

    STATFS(request, reply) {
      const slot = slotOf(request.nodeid)
      const error = files.isHidden(slot)
        ? statfs.ofFd(context.source.rootFd)
        : withShown(context, request.nodeid, (fd) => statfs.ofFd(fd))
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
