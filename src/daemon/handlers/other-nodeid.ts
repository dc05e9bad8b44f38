/**
 * An inode can have two nodeids for a while: who has it open as it was keeps the old one, look-ups find the new one (see served-opens.ts). What is changed through the old one is then told
 * to who goes by the new one, of which the kernel believes attributes; of the old one it believes none.
 */
import type { Request } from '../../fuse/messages.ts'
import { invalidateInode } from '../../fuse/notify.ts'
import type { OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { type Context, nodeidOf, slotOf } from './context.ts'
import { copyTargetOf } from './writing.ts'

/** What changes an inode's attributes, and the nodeid of that inode. */
const CHANGED: Partial<Record<OpcodeName, (request: Request) => number>> = {
  SETATTR: named,
  SETXATTR: named,
  REMOVEXATTR: named,
  WRITE: named,
  FALLOCATE: named,
  COPY_FILE_RANGE: copyTargetOf,
  IOCTL: named,
}

export function toldToOtherNodeid(
  handlers: Partial<Record<OpcodeName, Handler>>,
  { inodes, noticeFd }: Context,
): Partial<Record<OpcodeName, Handler>> {
  const wrapped = { ...handlers }
  for (const [name, changed] of Object.entries(CHANGED) as [OpcodeName, (request: Request) => number][]) {
    const handler = handlers[name]
    if (handler === undefined) continue
    wrapped[name] = (request, reply) => {
      const slot = slotOf(changed(request))
      const result = handler(request, reply)
      if (result < 0 || !inodes.isUnhashed(slot)) return result
      const other = inodes.successor(slot)
      if (other >= 0) invalidateInode(noticeFd, nodeidOf(other), -1, 0)
      return result
    }
  }
  return wrapped
}

function named({ nodeid }: Request): number {
  return nodeid
}
