/**
 * The set-user-id and set-group-id bits of a file go when somebody without CAP_FSETID changes its data. We told the kernel that we see
 * to that (FUSE_HANDLE_KILLPRIV_V2). It says so with each change, and, where the change is one that it passes through, before that
 * with a SETATTR that changes nothing.
 *
 * What comes through the daemon is changed as the client, and the file system below does what it does natively. (Capabilities in
 * security.capability go below whoever writes.)
 *
 * A chown(2) that changes neither id is a SETATTR that changes nothing, too.
 */

import type { Request } from '../../fuse/messages.ts'
import { chmodFd, chownFd } from '../../linux/change.ts'
import { ERRNO } from '../../linux/errors.ts'
import { hasOpenForWriting } from '../../linux/open-files.ts'
import { S_ISGID, S_ISUID, S_IXGRP, type Statx } from '../../linux/statx.ts'
import type { Credentials, Identity } from '../credentials.ts'

/**
 * chown(2) by the client: as the daemon, which may, but the set-group-id bit of what its group cannot execute goes as it goes for the client. The file
 * system sees to the other bits.
 */
export function chownAndDropSetId(
  credentials: Credentials,
  request: Request,
  fd: number,
  stat: Statx,
  uid: number,
  gid: number,
): number {
  let error = stat.ofFd(fd)
  if (error < 0) return error
  const { mode } = stat
  const loses = !stat.isDirectory && mode & S_ISGID && !(mode & S_IXGRP) && request.uid !== 0
  const isKept = !loses || credentials.isInGroup(request, stat.gid)
  error = chownFd(fd, uid, gid)
  return error === 0 && !isKept ? chmodFd(fd, mode & 0o7777 & ~(S_ISUID | S_ISGID)) : error
}

export const hasSetId = (stat: Statx): boolean => stat.isFile && (stat.mode & (S_ISUID | S_ISGID)) !== 0

/** Makes a change of the data of `fd` by `change`; as the client where it takes bits away. `stat` is overwritten. */
export function changeAndDropSetId(
  credentials: Credentials,
  request: Identity,
  fd: number,
  stat: Statx,
  change: () => number,
): number {
  return stat.ofFd(fd) === 0 && hasSetId(stat) ? credentials.as(request, 0, change) : change()
}

/**
 * A SETATTR that changes nothing: takes away what a write, or such a chown, of this client takes away. `shownIno`: the number that the mount
 * shows for the file. `stat` is what `fd` is. Returns 0 or -errno.
 */
export function changeNothing(
  credentials: Credentials,
  request: Request,
  fd: number,
  stat: Statx,
  shownIno: bigint,
): number {
  const result = credentials.as(request, 0, () => chownFd(fd, -1, -1))
  // Only the owner may chown; whoever writes takes the same bits away. He must have the file open for that.
  if (result !== -ERRNO.EPERM || !hasSetId(stat) || !hasOpenForWriting(request.pid, shownIno)) return result
  let mode = stat.mode & 0o7777 & ~S_ISUID
  if (mode & S_IXGRP || !credentials.isInGroup(request, stat.gid)) mode &= ~S_ISGID
  return chmodFd(fd, mode)
}
