/**
 * Who opens a file waits until leases that others have on it below (F_SETLEASE) are given back, which can take the holder as long as lease-break-time. Below everything is opened without
 * waiting: requests that would have to are handed over, and the worker is free again.
 */
import type { Request } from '../../fuse/messages.ts'
import { FATTR, IN, type OpcodeName } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { O_NONBLOCK } from '../../linux/file.ts'

/** What opens a file of the client's, and whether the client waits. */
const OPENING: Partial<Record<OpcodeName, (request: Request) => boolean>> = {
  OPEN: (request) => (request.u32(IN.OPEN.flags) & O_NONBLOCK) === 0,
  SETATTR: (request) => (request.u32(IN.SETATTR.valid) & FATTR.SIZE) !== 0,
}

/** `handOver` gets a request whose memory is used again when it returns, and of which nothing has been done. */
export function waitingForLeases(
  handlers: Partial<Record<OpcodeName, Handler>>,
  handOver: (request: Request) => void,
): Partial<Record<OpcodeName, Handler>> {
  const wrapped = { ...handlers }
  for (const [name, waits] of Object.entries(OPENING) as [OpcodeName, (request: Request) => boolean][]) {
    const handler = handlers[name]
    if (handler === undefined) continue
    wrapped[name] = (request, reply) => {
      const result = handler(request, reply)
      if (result !== -ERRNO.EAGAIN || !waits(request)) return result
      handOver(request)
      return NO_REPLY
    }
  }
  return wrapped
}
