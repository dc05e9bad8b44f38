/** The handlers of a worker, but for requests that touch what is granted to somebody: those are handed over, and the worker is free again. */

import { KEY_BYTES } from '../../exclusive/messages.ts'
import { SHOW_FILE } from '../../exclusive/show-file.ts'
import type { Request } from '../../fuse/messages.ts'
import { IN, type OpcodeName } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { type GrantedRanges, TOUCHER, type Toucher } from './granted-ranges.ts'
import { isOfMapping, type Tell, TOUCHING, touched } from './touched.ts'

/**
 * `handOver` gets a request whose memory is used again when it returns. While nothing is granted anywhere this costs a load and a call for each request
 * that could touch something.
 */
export function heldBack(
  handlers: Partial<Record<OpcodeName, Handler>>,
  granted: GrantedRanges,
  handOver: (request: Request) => void,
): Partial<Record<OpcodeName, Handler>> {
  const concerns =
    (who: Toucher): Tell =>
    (slot, start, end, writes) =>
      granted.concerns(slot, start, end, writes ? TOUCHER.WRITER : who)
  const concernsMapping = concerns(TOUCHER.MAPPING)
  const concernsReader = concerns(TOUCHER.READER)
  const wrapped = { ...handlers }
  for (const name of TOUCHING) {
    const handler = handlers[name]
    if (handler === undefined) continue
    wrapped[name] = (request, reply) => {
      if (granted.isEmpty) return handler(request, reply)
      if (!touched(name, request, isOfMapping(request) ? concernsMapping : concernsReader))
        return handler(request, reply)
      handOver(request)
      return NO_REPLY
    }
  }
  wrapped.IOCTL = (request, reply) => {
    if (!granted.isServed || !isShown(request)) return handlers.IOCTL?.(request, reply) ?? -ERRNO.ENOTTY
    handOver(request)
    return NO_REPLY
  }
  return wrapped
}

/** Somebody shows a file that he has open. */
const isShown = (request: Request): boolean =>
  request.u32(IN.IOCTL.cmd) === SHOW_FILE && request.u32(IN.IOCTL.inSize) === KEY_BYTES
