/** LSEEK: where there is data, and where there are holes. */
import type { Reply } from '../../fuse/messages.ts'
import { LSEEK_OUT_BYTES, type OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { lseekExact, O_NONBLOCK, SEEK_DATA, SEEK_HOLE } from '../../linux/file.ts'
import { SLOT } from '../inode-table.ts'
import { ownHandle } from '../open-handle.ts'
import { writtenOf } from '../run-maps.ts'
import { seekMapped } from '../seeking.ts'
import { SERVED } from '../slot-serving.ts'
import { type Context, slotOf, withOpen } from './context.ts'

export function seekingHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, homes, maps, serving, stat } = context
  const homeFd = (home: number): number => homes.fd(home)

  function seekOpen(slot: number, fd: number, offset: number | bigint, whence: number): number | bigint {
    const map = inodes.get(slot, SLOT.MAP)
    const mapped = map === 0 ? undefined : maps.get(map)
    if (mapped === undefined || mapped.content !== undefined) return lseekExact(fd, offset, whence)
    const error = stat.ofFd(fd)
    if (error < 0) return error
    return seekMapped({ runs: mapped.runs, own: writtenOf(mapped), ownFd: fd, homeFd }, stat.size, offset, whence)
  }

  function position(result: number | bigint, reply: Reply): number {
    if (result < 0) return Number(result)
    reply.setLong(0, result)
    return LSEEK_OUT_BYTES
  }

  return {
    /**
     * Only SEEK_DATA and SEEK_HOLE come here. Who is passed through to a home is told of that: it is what he reads. A file passed through to
     * itself has no descriptor here: one is opened for the question.
     */
    LSEEK(request, reply) {
      const whence = request.u32(16)
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -ERRNO.EINVAL
      const handle = ownHandle(request.u32(0))
      const slot = slotOf(request.nodeid)
      if (handle > 0) return position(seekOpen(slot, handle - 1, request.long(8), whence), reply)
      if (serving.kind(slot) === SERVED.PRISTINE)
        return position(lseekExact(homes.fd(inodes.get(slot, SLOT.HOME)), request.long(8), whence), reply)
      return withOpen(context, slot, 0, O_NONBLOCK, (fd) => position(lseekExact(fd, request.long(8), whence), reply))
    },
  }
}
