/** FSYNC, FSYNCDIR, SYNCFS of a mount that can be written to. */
import type { Request } from '../../fuse/messages.ts'
import { FSYNC_FDATASYNC, type OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { fdatasync, fsync, syncfs } from '../../linux/change.ts'
import { O_DIRECTORY, O_NONBLOCK, O_RDONLY } from '../../linux/file.ts'
import { syncHandle } from '../open-handle.ts'
import { type Context, slotOf, withOpen } from './context.ts'

export function syncingHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  function sync(request: Request, flags: number): number {
    const call = request.u32(8) & FSYNC_FDATASYNC ? fdatasync : fsync
    return withOpen(context, slotOf(request.nodeid), syncHandle(request.u32(0)), flags, call)
  }

  return {
    FSYNC: (request) => sync(request, O_RDONLY | O_NONBLOCK),
    FSYNCDIR: (request) => sync(request, O_DIRECTORY),
    SYNCFS: () => syncfs(context.source.handleMountFd >= 0 ? context.source.handleMountFd : context.source.rootFd),
  }
}
