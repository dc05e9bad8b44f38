/** OPENDIR, READDIR, READDIRPLUS, RELEASEDIR: a directory is read at the positions that the file system below gives. */
import { OPEN_OUT_BYTES, type OpcodeName, OUT } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { close, O_DIRECTORY } from '../../linux/file.ts'
import { SLOT, SLOT_FLAG } from '../inode-table.ts'
import { type Context, slotOf } from './context.ts'
import { DirectoryReader, HIDDEN_HANDLE } from './directory-reader.ts'
import { freeSlot } from './lookup.ts'

export function directoryHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, filesystems, listings, options, advice, stat } = context
  const reader = new DirectoryReader(context)

  const isOfSource = (slot: number) => filesystems.isOfMount(inodes.get(slot, SLOT.FS))

  return {
    OPENDIR(request, reply) {
      const slot = slotOf(request.nodeid)
      reply.zero(0, OPEN_OUT_BYTES)
      if ((inodes.get(slot, SLOT.FLAGS) & SLOT_FLAG.HIDDEN) === 0) {
        const fd = files.openForClient(slot, O_DIRECTORY)
        if (fd < 0) return fd
        reply.setU32(OUT.OPEN.fh, fd + 1)
        const mayKeep = options.keepsLists && advice.expectsNames && isOfSource(slot)
        reply.setU32(OUT.OPEN.openFlags, listings.open(slot, fd, stat, mayKeep))
      } else inodes.countOpen(slot, 1)
      return OPEN_OUT_BYTES
    },

    READDIR: (request, reply) => reader.read(request, reply, false),
    READDIRPLUS(request, reply) {
      const position = request.u64(8)
      return reader.read(request, reply, true, position !== 0 || advice.takeForListing())
    },

    RELEASEDIR(request) {
      const handle = request.u64(0)
      const slot = slotOf(request.nodeid)
      if (handle !== HIDDEN_HANDLE) close(handle - 1)
      if (inodes.countOpen(slot, -1)) freeSlot(context, slot)
      return 0
    },
  }
}
