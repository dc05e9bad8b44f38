/** All handlers of a mount, put together: for the workers, and for who answers what they have handed over. */
import type { OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { syncfs } from '../../linux/change.ts'
import { close, O_DIRECTORY, O_RDONLY, reopen } from '../../linux/file.ts'
import { Credentials } from '../credentials.ts'
import { NearServing } from '../near/near-serving.ts'
import { retryWithSpace, type Space } from '../space.ts'
import { attributeHandlers } from './attributes.ts'
import { changingHandlers } from './changing.ts'
import type { Context } from './context.ts'
import { creatingHandlers } from './creating.ts'
import { creatingOpenHandlers } from './creating-open.ts'
import { directoryHandlers } from './directories.ts'
import { ioctlHandler } from './file-flags.ts'
import { lockingHandlers } from './locking.ts'
import { lookupHandlers } from './lookup.ts'
import { openingHandlers } from './opening.ts'
import { toldToOtherNodeid } from './other-nodeid.ts'
import { readingHandlers } from './reading.ts'
import { refusalHandlers } from './refusals.ts'
import { isRepeatable } from './repeatable.ts'
import { seekingHandlers } from './seeking.ts'
import { syncingHandlers } from './syncing.ts'
import { remembersWhoLooksAgain } from './told-again.ts'
import { writingHandlers } from './writing.ts'
import { xattrHandlers } from './xattrs.ts'

export function allHandlers(context: Context, space: Space): Partial<Record<OpcodeName, Handler>> {
  const near = context.arena?.near && new NearServing(context.arena.near, context.answerFd)
  const handlers = {
    ...refusalHandlers(context),
    ...lookupHandlers(context),
    ...attributeHandlers(context),
    ...xattrHandlers(context),
    ...directoryHandlers(context),
    ...openingHandlers(context, near),
    ...readingHandlers(context, near),
    ...seekingHandlers(context),
    IOCTL: ioctlHandler(context),
    ...(context.options.writable ? changeHandlers(context, space) : {}),
  }
  return remembersWhoLooksAgain(handlers, context)
}

function changeHandlers(context: Context, space: Space): Partial<Record<OpcodeName, Handler>> {
  const credentials = new Credentials(context.options)
  const changing = {
    ...changingHandlers(context, credentials),
    ...writingHandlers(context, credentials),
    IOCTL: ioctlHandler(context, credentials),
  }
  const handlers = {
    ...creatingHandlers(context, credentials),
    ...creatingOpenHandlers(context, credentials),
    ...syncingHandlers(context),
    ...toldToOtherNodeid(changing, context),
  }
  const retried = Object.entries(handlers).map(
    ([name, handler]) =>
      [name, retryWithSpace(handler, () => makeSpace(context, space), isRepeatable(name as OpcodeName))] as const,
  )
  return { ...Object.fromEntries(retried), ...lockingHandlers(context) }
}

/** Has the keeper give back what nobody needs: whether something can be tried again. */
export function makeSpace(context: Context, space: Space): boolean {
  const isMade = space.wait(() => context.tellKeeper({ type: 'makeSpace' }))
  // btrfs gives freed blocks out again when the transaction has ended that freed them.
  if (isMade) syncAnew(context.source.rootFd)
  return isMade
}

/** By a descriptor of its own: what could not be written back is told once to each, and who asks by `fd` is to hear of it. */
function syncAnew(fd: number): void {
  const own = reopen(fd, O_RDONLY | O_DIRECTORY)
  if (own < 0) return
  syncfs(own)
  close(own)
}
