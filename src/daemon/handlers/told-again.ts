/** What goes by a name, and may find that the file which the kernel knows by it is gone: ESTALE has the kernel look again, and the thread is remembered for that, see ../told-stale.ts. */
import type { OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { ERRNO } from '../../linux/errors.ts'
import { type Context, slotOf } from './context.ts'

const OPENING = ['OPEN', 'CREATE'] as const satisfies readonly OpcodeName[]
const OTHERS = [
  'GETATTR',
  'STATX',
  'READLINK',
  'SETATTR',
  'GETXATTR',
  'LISTXATTR',
  'SETXATTR',
  'REMOVEXATTR',
  'LINK',
] as const satisfies readonly OpcodeName[]

export function remembersWhoLooksAgain(
  handlers: Partial<Record<OpcodeName, Handler>>,
  { toldStale }: Context,
): Partial<Record<OpcodeName, Handler>> {
  const wrapped = { ...handlers }
  const wrap = (name: OpcodeName, opens: boolean) => {
    const handler = handlers[name]
    if (handler === undefined) return
    wrapped[name] = (request, reply) => {
      const result = handler(request, reply)
      if (result === -ERRNO.ESTALE) toldStale.tell(request.pid, slotOf(request.nodeid), opens)
      // What it found needs to be held until it is opened. Other calls may be several requests: what they found is held for a moment.
      else if (opens) toldStale.end(request.pid)
      return result
    }
  }
  for (const name of OPENING) wrap(name, true)
  for (const name of OTHERS) wrap(name, false)
  return wrapped
}
