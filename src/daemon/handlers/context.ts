/** What the handlers of one worker work with. */

import type { Reply } from '../../fuse/messages.ts'
import { invalidateInode } from '../../fuse/notify.ts'
import { ENTRY_OUT_BYTES } from '../../fuse/protocol.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close } from '../../linux/file.ts'
import { Statx } from '../../linux/statx.ts'
import type { ArenaMemory } from '../content/mount-arena.ts'
import type { FilesystemTable } from '../filesystem-table.ts'
import type { GrantedRanges } from '../grants/granted-ranges.ts'
import type { InodeFiles, Source } from '../inode-files.ts'
import { type InodeTable, nodeidOf, SLOT, slotOf } from '../inode-table.ts'
import type { Listings } from '../listings.ts'
import type { LockCounts } from '../locks/lock-counts.ts'
import type { LookupAdvice } from '../lookup-advice.ts'
import type { RequestStats } from '../request-stats.ts'
import type { RunMaps } from '../run-maps.ts'
import type { ServedOpens } from '../served-opens.ts'
import type { SharedHomes } from '../shared-homes.ts'
import type { Invalidate, MountDaxMode, ServingOptions, ToGrants, ToKeeper } from '../shared-state.ts'
import { setCtime } from '../slot-ctime.ts'
import type { ServingState } from '../slot-serving.ts'
import type { ToldStale } from '../told-stale.ts'
import { mayBeStoredTo } from '../unheard-stores.ts'
import type { WarmFiles } from '../warm-files.ts'

export interface Context {
  readonly worker: number
  /** The thread's descriptor of the connection, for what any will do: notices to the kernel, backing ids. */
  readonly noticeFd: number
  /** The descriptor that the request in hand came by, and is answered by. Where those of several workers are answered it changes from request to request: so it is asked for anew with each. */
  answerFd: number
  readonly inodes: InodeTable
  readonly files: InodeFiles
  readonly filesystems: FilesystemTable
  readonly homes: SharedHomes
  readonly locks: LockCounts
  readonly serving: ServingState
  readonly opening: ServedOpens
  readonly warm: WarmFiles
  readonly toldStale: ToldStale
  readonly listings: Listings
  readonly granted: GrantedRanges
  /** Tells the grants' thread something. */
  readonly grants: (message: ToGrants) => void
  /** Whether large answers may be moved by reference: only where `answerFd` never changes. */
  readonly splices: boolean
  readonly maps: RunMaps
  /** Undefined where this thread reads from none. */
  readonly arena: ArenaMemory | undefined
  /** How this thread reads pages of homes with DAX; undefined: as any others. */
  readonly dax: MountDaxMode | undefined
  readonly stats: RequestStats
  readonly source: Source
  readonly options: ServingOptions
  readonly tellKeeper: (message: ToKeeper) => void
  readonly invalidate: (message: Invalidate) => void
  readonly advice: LookupAdvice
  /** Reused by every request of the worker. */
  readonly stat: Statx
}

export { nodeidOf, slotOf }

/** Writes a struct fuse_attr of what `context.stat` holds for `slot`, and remembers what the kernel is being told. */
export function setAttr(context: Context, slot: number, reply: Reply, offset: number): void {
  const { inodes, stat } = context
  const fs = inodes.get(slot, SLOT.FS)
  reply.setAttr(offset, stat, stat.inoLow, context.filesystems.shownInoHigh(fs, stat.inoHigh))
  setCtime(inodes, slot, SLOT.ATTR_SEC, stat)
}

/**
 * Writes how long the kernel may believe the attributes of `slot`. Not at all while somebody may store to the file through a mapping that is
 * passed through: nobody hears of that; nor where the inode has another nodeid by now, to which its changes are told.
 */
export function setValidity(
  context: Context,
  slot: number,
  reply: Reply,
  secondsAt: number,
  nanosecondsAt: number,
): void {
  const { inodes, files, options } = context
  const believed = inodes.isUnhashed(slot) || mayBeStoredTo(inodes, files, slot) ? 0 : options.timeoutSeconds
  const seconds = Math.floor(believed)
  reply.setU64(secondsAt, seconds, 0)
  reply.setU32(nanosecondsAt, Math.round((believed - seconds) * 1e9))
}

/** Runs `call` with an O_PATH descriptor of the slot's inode. */
export function withPinned(context: Context, slot: number, call: (fd: number) => number): number {
  const { files } = context
  const fd = files.pin(slot)
  if (fd < 0) return fd
  try {
    return call(fd)
  } finally {
    files.unpin(slot, fd)
  }
}

/** The same; where the inode has no descriptor because it is hidden, the answer is `hidden`. */
export function withShown(
  context: Context,
  nodeid: number,
  call: (fd: number) => number,
  hidden: number = -ERRNO.ENODATA,
): number {
  const slot = slotOf(nodeid)
  return context.files.isHidden(slot) ? hidden : withPinned(context, slot, call)
}

/**
 * Runs `call` with the open file `handle`, or, of a file that is passed through and has no descriptor here, with one that is opened with `flags` for the
 * occasion.
 */
export function withOpen(
  { files }: Context,
  slot: number,
  handle: number,
  flags: number,
  call: (fd: number) => number,
): number {
  if (handle > 0) return call(handle - 1)
  const fd = files.open(slot, flags)
  if (fd < 0) return fd
  try {
    return call(fd)
  } finally {
    close(fd)
  }
}

/** Writes a struct fuse_entry_out at `offset`; returns its bytes. */
export function setEntry(context: Context, slot: number, reply: Reply, offset: number): number {
  forgetAcl(context, slot)
  const seconds = Math.floor(context.options.timeoutSeconds)
  const nanoseconds = Math.round((context.options.timeoutSeconds - seconds) * 1e9)
  reply.setFloat64(offset, nodeidOf(slot))
  reply.setU64(offset + 8, context.inodes.get(slot, SLOT.GENERATION), 0)
  reply.setU64(offset + 16, seconds, 0)
  reply.setU32(offset + 32, nanoseconds)
  setValidity(context, slot, reply, offset + 24, offset + 36)
  setAttr(context, slot, reply, offset + 40)
  return ENTRY_OUT_BYTES
}

/**
 * Has the kernel forget the ACL of an inode that has changed since it was told of it. It does so by itself where it asks for attributes, or whether a name still holds; not where an
 * inode that it knows turns up under a name that it does not.
 */
function forgetAcl({ inodes, opening, stat, noticeFd }: Context, slot: number): void {
  const wasTold = inodes.get(slot, SLOT.ATTR_SEC) !== 0 || inodes.get(slot, SLOT.ATTR_NSEC) !== 0
  if (wasTold && opening.attributesAreOld(slot, stat)) invalidateInode(noticeFd, nodeidOf(slot), -1, 0)
}

/** A fresh record for one worker. */
export const newStat = (): Statx => new Statx()
