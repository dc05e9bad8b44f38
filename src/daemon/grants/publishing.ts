/**
 * Publishing the bytes of a grant: the way of a write through the daemon (changes.ts), for all slots of the inode at once, so that nobody who has it open
 * sees a part of it. Context: the grants' thread.
 */
import { invalidateInode, invalidateInodeAsync } from '../../fuse/notify.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, O_RDWR, reopen } from '../../linux/file.ts'
import { changeData } from '../changes.ts'
import type { Credentials, Identity } from '../credentials.ts'
import { makeSpace } from '../handlers/all.ts'
import type { Context } from '../handlers/context.ts'
import { changeAndDropSetId } from '../handlers/set-id.ts'
import { nodeidOf, SLOT } from '../inode-table.ts'
import type { Space } from '../space.ts'
import type { ShownFile } from './shown-file.ts'
import type { UndoableCopy } from './undoable-copy.ts'

export interface Publisher {
  readonly context: Context
  readonly credentials: Credentials
  readonly space: Space
}

/** Writes the bytes to the file, as `who`: 0, or -errno and the file is as it was. `sync`: they are on the disk then. */
export function publish(
  { context, credentials, space }: Publisher,
  file: ShownFile,
  bytes: UndoableCopy,
  who: Identity,
  sync: boolean,
): number {
  const fd = reopen(file.fd, O_RDWR)
  if (fd < 0) return fd
  try {
    const slots = context.inodes.slotsOf(file.slot)
    const write = () =>
      changeAll(context, slots, fd, bytes.start, bytes.start + bytes.length, () =>
        changeAndDropSetId(credentials, who, fd, context.stat, () =>
          credentials.writing(who, () => bytes.publish(fd, sync)),
        ),
      )
    let result = write()
    const isFull = result === -ERRNO.ENOSPC || result === -ERRNO.EDQUOT
    if (isFull && makeSpace(context, space)) result = write()
    return result
  } finally {
    close(fd)
  }
}

function changeAll(
  context: Context,
  [slot, ...others]: readonly number[],
  fd: number,
  start: number,
  end: number,
  change: () => number,
): number {
  if (slot === undefined) return change()
  return changeData(context, slot, fd, start, end, () => changeAll(context, others, fd, start, end, change))
}

/** The kernel believes nothing that it has of the range: attributes at once, pages when the promise resolves. Those are waited for, so this is never done while some are kept waiting. */
export async function forgetCopies(context: Context, file: ShownFile, start: number, length: number): Promise<void> {
  const { inodes, noticeFd } = context
  for (const slot of inodes.slotsOf(file.slot)) {
    invalidateInode(noticeFd, nodeidOf(slot), -1, 0)
    if (inodes.get(slot, SLOT.FILLED) !== 0) await invalidateInodeAsync(noticeFd, nodeidOf(slot), start, length)
  }
}
