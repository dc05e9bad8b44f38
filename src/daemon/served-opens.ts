/**
 * OPEN and RELEASE of regular files, as a worker does them. What can be answered from memory, or needs no
 * thought, is answered here; the rest goes to the keeper, with the descriptor, and the worker is free again.
 */

import type { Reply } from '../fuse/messages.ts'
import { expireAllNames, invalidateInode } from '../fuse/notify.ts'
import { FOPEN, OPEN_OUT_BYTES, OUT } from '../fuse/protocol.ts'
import { ERRNO } from '../linux/errors.ts'
import {
  close,
  fadvise,
  O_ACCMODE,
  O_APPEND,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  POSIX_FADV_RANDOM,
  reopen,
  setStatusFlags,
} from '../linux/file.ts'
import { backingClose, backingOpen } from '../linux/fuse-device.ts'
import { asNobody } from '../linux/identity.ts'
import { STATX_ATTR, type Statx } from '../linux/statx.ts'
import type { GrantedRanges } from './grants/granted-ranges.ts'
import { type InodeTable, nodeidOf, SLOT } from './inode-table.ts'
import type { LockCounts } from './locks/lock-counts.ts'
import { isWriting, passesArena } from './open-flags.ts'
import { marksOf, OPEN_APPEND_ONLY, openNumber, SYNC_ONLY, syncHandle } from './open-handle.ts'
import type { SharedHomes } from './shared-homes.ts'
import type { HomeRef, ServingOptions } from './shared-state.ts'
import { ctimeIs } from './slot-ctime.ts'
import { SERVED, type ServingState } from './slot-serving.ts'
import type { WarmFiles } from './warm-files.ts'

// Constants of this module, see cache/lookup.ts.
const { fh: FH, fhUpper: FH_UPPER, openFlags: OPEN_FLAGS, backingId: BACKING_ID } = OUT.OPEN

/** What {@link ServedOpens.join} could not answer: the file has to be decided on. */
export const UNDECIDED = 1

/** Set in what {@link ServedOpens.release} returns. */
export const RELEASED = { COPIED: 1, UNUSED: 2 } as const

/** The run maps as the thread knows them. */
export interface Maps {
  homesOf(map: number): readonly HomeRef[]
  /** No inode uses the map any more. */
  discard(map: number): void
}

interface ServedOpensParts {
  readonly inodes: InodeTable
  readonly serving: ServingState
  readonly homes: SharedHomes
  readonly options: ServingOptions
  readonly maps: Maps
  readonly locks: LockCounts
  readonly warm: WarmFiles
  readonly granted: GrantedRanges
  /** Any descriptor of the connection will do for backing ids. */
  readonly fuseFd: number
}

export class ServedOpens {
  readonly #inodes: InodeTable
  readonly #serving: ServingState
  readonly #homes: SharedHomes
  readonly #options: ServingOptions
  readonly #maps: Maps
  readonly #locks: LockCounts
  readonly #warm: WarmFiles
  readonly #granted: GrantedRanges
  readonly #fuseFd: number
  /** The longest that a table of descriptors may get before none are kept of what is passed through: without them more can be open. */
  readonly #syncedMax: number

  constructor({ inodes, serving, homes, options, maps, locks, warm, granted, fuseFd }: ServedOpensParts) {
    this.#inodes = inodes
    this.#serving = serving
    this.#homes = homes
    this.#options = options
    this.#maps = maps
    this.#locks = locks
    this.#warm = warm
    this.#granted = granted
    this.#fuseFd = fuseFd
    this.#syncedMax = Math.floor(options.descriptorsLimit / 2)
  }

  /**
   * Opens for reading what is warm, where a look at the file, which `stat` gets, finds what was decided on and the kernel was told: the payload's bytes.
   * {@link UNDECIDED} where anything else is the case.
   */
  openWarm(slot: number, flags: number, stat: Statx, reply: Reply): number {
    const inodes = this.#inodes
    if (isWriting(flags) || inodes.get(slot, SLOT.WARM) === 0 || this.isGranted(slot)) return UNDECIDED
    const lock = inodes.lockOf(slot)
    lock.lock()
    try {
      const fd = this.#warm.descriptor(slot)
      if (fd < 0 || this.#serving.kind(slot) === SERVED.MAPPED || inodes.isUnhashed(slot)) return UNDECIDED
      if (stat.ofFd(fd) < 0 || stat.nlink === 0 || !this.#serving.matches(slot, stat)) return UNDECIDED
      if (this.attributesAreOld(slot, stat) || isAppendOnly(stat)) return UNDECIDED
      if (inodes.get(slot, SLOT.OPENS) === 0) {
        if (!this.#serving.isRemembered(slot, Date.now() / 1000) || !this.#acquireHomes(slot)) return UNDECIDED
      }
      this.#warm.touch(slot)
      return this.open(slot, -1, flags, reply, stat)
    } finally {
      lock.unlock()
    }
  }

  /** Whether the slot's file is to be served by the daemon, because it is granted to somebody, or may be while it is open. */
  isGranted(slot: number): boolean {
    return this.#granted.hasFile(slot)
  }

  /** The kernel was told other attributes than `stat` has, and goes on believing them for a while. */
  attributesAreOld(slot: number, stat: Statx): boolean {
    return !ctimeIs(this.#inodes, slot, SLOT.ATTR_SEC, stat)
  }

  /**
   * Under the slot's lock: joins what is being served, or starts serving as remembered. `stat` is the file now, `fd` a descriptor of it that passes to
   * the open file or is closed. Returns payload bytes, -ESTALE, or {@link UNDECIDED} (then `fd` stays the caller's). `flags`: the client's. `looked`:
   * what others may have changed in a written file has been looked for since the client asked.
   */
  join(slot: number, fd: number, stat: Statx, flags: number, reply: Reply, looked = false): number {
    if (this.#inodes.get(slot, SLOT.OPENS) > 0) return this.#joinOthers(slot, fd, stat, flags, reply, looked)
    // By another name, whose look-up the kernel still believes. All opens are to meet where the inode is found now.
    if (this.#inodes.isUnhashed(slot)) {
      close(fd)
      return -ERRNO.ESTALE
    }
    return this.#beginAsKnown(slot, stat, flags) ? this.open(slot, fd, flags, reply, stat) : UNDECIDED
  }

  /** As {@link join}, by who can write the file and the daemon cannot read it: nothing can be found out of it, so where nobody has it open it is served by itself this once. */
  joinUnread(slot: number, fd: number, stat: Statx, flags: number, reply: Reply): number {
    const joined = this.join(slot, fd, stat, flags, reply, true)
    if (joined !== UNDECIDED) return joined
    this.decide(slot, SERVED.PRIVATE, stat, false, 0)
    return this.open(slot, fd, flags, reply, stat)
  }

  /** {@link join} where somebody has the file open. */
  #joinOthers(slot: number, fd: number, stat: Statx, flags: number, reply: Reply, looked: boolean): number {
    let joins = this.#canJoin(slot, stat, flags)
    if (!joins && this.#mustJoin(this.#serving.kind(slot))) {
      this.#serving.markWritten(slot)
      joins = true
    }
    if (joins) {
      if (!looked && this.dueLook(slot, fd, stat) > 0) return UNDECIDED
      return this.open(slot, fd, flags, reply, stat)
    }
    this.#sendOn(slot, stat, flags)
    close(fd)
    return -ERRNO.ESTALE
  }

  /** Where nobody has the file open: whether it can be served as was decided, or as needs no thought. Its homes are held then. */
  #beginAsKnown(slot: number, stat: Statx, flags: number): boolean {
    const { sharing, merge, minShareBytes, minWriteShareBytes } = this.#options
    // Native speed is worth more than the memory that a small file shares. Larger ones are written through the daemon, and what is not written stays shared.
    const isSmallForWriting = isWriting(flags) && stat.size < minWriteShareBytes
    if (isSmallForWriting || (passesArena(flags) && this.isInArena(slot))) {
      this.decide(slot, SERVED.PRIVATE, stat, false, 0)
      return true
    }
    if (this.#isDecidedFor(slot, stat, flags)) return this.#acquireHomes(slot)
    if (stat.size >= minShareBytes && (sharing || (merge && !passesArena(flags)))) return false
    this.decide(slot, SERVED.PRIVATE, stat, true, 0)
    return true
  }

  /** Whether what was decided holds for the file as it is, and for who opens it. */
  #isDecidedFor(slot: number, stat: Statx, flags: number): boolean {
    if (!this.#serving.isRemembered(slot, Date.now() / 1000) || !this.#serving.matches(slot, stat)) return false
    if (this.#serving.kind(slot) === SERVED.PRISTINE && (isWriting(flags) || this.isGranted(slot))) return false
    return !(this.isInArena(slot) && this.isGranted(slot))
  }

  /**
   * A private file is read as it is now, whatever has happened to it. A deleted one is had by way of an open file, and is what that is.
   * One that is passed through to its home can't be written.
   */
  #canJoin(slot: number, stat: Statx, flags: number): boolean {
    const isCurrent = this.#serving.isCoherent(slot) || stat.nlink === 0 || this.#serving.matches(slot, stat)
    if (isWriting(flags) && this.#serving.kind(slot) === SERVED.PRISTINE) return false
    return isCurrent && !this.wouldPassAppender(slot, stat, flags)
  }

  /**
   * Under the slot's lock: whether the file, which is append-only, is passed through to others, who opened it before it was so, and who opens it now is to write. All who have it open
   * are passed through, or nobody is: he can't join them.
   */
  wouldPassAppender(slot: number, stat: Statx, flags: number): boolean {
    const isPassed = this.#inodes.get(slot, SLOT.OPENS) > 0 && this.#backing(slot) > 0
    return isPassed && isWriting(flags) && isAppendOnly(stat)
  }

  /**
   * Whether all who have a file of this kind open are to see what is written from now on: then who opens it joins them, whatever has changed since they did, and what has is looked for and
   * becomes the file's own. Two nodeids would have two maps, and a write is noted in that of its own.
   */
  #mustJoin(kind: number): boolean {
    return this.#options.strict && this.#options.writable && kind === SERVED.MAPPED
  }

  /**
   * Under the slot's lock: the next look-up is to find a slot that can be joined, for the kernel asks again once only. The inode may have
   * another slot already, which the kernel has not met under this name.
   */
  #sendOn(slot: number, stat: Statx, flags: number): void {
    const inodes = this.#inodes
    this.#unhash(slot)
    // By its other names the kernel would go on taking it for another file: it would not see that a rename between two of them changes nothing.
    if (stat.nlink > 1) expireAllNames(this.#fuseFd)
    const next = inodes.successor(slot)
    if (next < 0) return
    // From older slots to newer ones only, so no two threads wait for each other.
    inodes.lockOf(next).locked(() => {
      const isStillThat = inodes.successor(slot) === next
      if (isStillThat && inodes.get(next, SLOT.OPENS) > 0 && !this.#canJoin(next, stat, flags)) this.#unhash(next)
    })
  }

  #unhash(slot: number): void {
    this.#inodes.unhash(slot)
    // From now on it hears of no change: see setValidity.
    invalidateInode(this.#fuseFd, nodeidOf(slot), -1, 0)
  }

  /** As {@link ServingState.dueLook}, of the file now: `fd` is open on it, `stat` gets what it is. */
  dueLook(slot: number, fd: number, stat: Statx): number {
    return this.#serving.isWritten(slot) && stat.ofFd(fd) === 0 ? this.#serving.dueLook(slot, stat) : 0
  }

  /** Under the slot's lock, with nobody having it open: a new decision in place of the old one. */
  decide(slot: number, kind: number, stat: Statx, remember: boolean, recheckSeconds: number): void {
    const map = this.#serving.reset(slot)
    if (map !== 0) this.#maps.discard(map)
    this.#serving.decide(slot, kind, stat, remember, recheckSeconds)
  }

  /** Under the slot's lock: takes the homes of the decision in the slot, all or none. */
  #acquireHomes(slot: number): boolean {
    const kind = this.#serving.kind(slot)
    if (kind === SERVED.PRISTINE)
      return this.#homes.acquire(this.#inodes.get(slot, SLOT.HOME), this.#inodes.get(slot, SLOT.HOME_GENERATION))
    if (kind !== SERVED.MAPPED) return true
    return this.acquireAll(this.#maps.homesOf(this.#inodes.get(slot, SLOT.MAP)))
  }

  /** Mapped, and in no home: read from the arena. */
  isInArena(slot: number): boolean {
    const map = this.#serving.kind(slot) === SERVED.MAPPED ? this.#inodes.get(slot, SLOT.MAP) : 0
    return map !== 0 && this.#maps.homesOf(map).length === 0
  }

  acquireAll(homes: readonly HomeRef[]): boolean {
    for (let i = 0; i < homes.length; i++) {
      if (this.#homes.acquire(homes[i]!.number, homes[i]!.generation)) continue
      while (--i >= 0) this.#homes.release(homes[i]!.number)
      return false
    }
    return true
  }

  /**
   * Under the slot's lock: one more open file of a slot whose homes are held; the answer goes to `at` of the payload. Returns its bytes. `fd` passes
   * to the open file, or is kept, or closed; -1 where the file is warm and passed through. `stat`: the file.
   */
  open(slot: number, fd: number, flags: number, reply: Reply, stat: Statx, at = 0): number {
    const kind = this.#serving.kind(slot)
    // It was not append-only yet when it became warm.
    if (isAppendOnly(stat) && this.#inodes.get(slot, SLOT.OPENS) === 0) this.#warm.drop(slot)
    if (this.#mayRegister(slot, kind, stat)) {
      // By a descriptor for reading, for the backing id lives on when the writer is gone, and would look like one.
      const readFd = isWriting(flags) ? reopen(fd, O_RDONLY | O_NONBLOCK) : -1
      this.#register(slot, readFd >= 0 ? readFd : fd, stat)
      if (readFd >= 0) close(readFd)
    }
    this.#inodes.countOpen(slot, 1)
    const backing = this.#backing(slot)
    if (isWriting(flags)) this.#countWriter(slot, flags, backing)
    reply.zero(at, OPEN_OUT_BYTES)
    const ownMark = backing > 0 ? 0 : takeAppendAway(fd, flags)
    reply.setU32(at + FH_UPPER, this.#locks.takeOpen() | marksOf(flags) | ownMark)
    if (backing > 0) this.#openPassed(slot, fd, flags, backing, reply, at)
    else this.#openServed(slot, fd, kind, reply, at)
    return OPEN_OUT_BYTES
  }

  #countWriter(slot: number, flags: number, backing: number): void {
    this.#inodes.set(slot, SLOT.WRITERS, this.#inodes.get(slot, SLOT.WRITERS) + 1)
    this.#serving.markWritten(slot)
    // Of who is passed through, and can map nothing, the kernel hears each write.
    if (backing <= 0 || (flags & O_ACCMODE) === O_RDWR) this.#inodes.set(slot, SLOT.STORABLE, 1)
  }

  /** The kernel reads and writes by itself. */
  #openPassed(slot: number, fd: number, flags: number, backing: number, reply: Reply, at: number): void {
    this.#inodes.set(slot, SLOT.PASSED, 1)
    if (isWriting(flags) && fd <= this.#syncedMax) reply.setU32(at + FH, (fd + 1) | SYNC_ONLY)
    else if (fd >= 0 && !this.#keepWarm(slot, fd, flags)) close(fd)
    reply.setU32(at + OPEN_FLAGS, FOPEN.PASSTHROUGH)
    reply.setU32(at + BACKING_ID, backing)
  }

  /** Each read and write comes to the daemon, or, where the kernel keeps a copy, what that lacks. */
  #openServed(slot: number, fd: number, kind: number, reply: Reply, at: number): void {
    // Own pages are read through this descriptor: readahead would drag their shared neighbours into the file's cache.
    if (kind === SERVED.MAPPED) fadvise(fd, 0, 0, POSIX_FADV_RANDOM)
    reply.setU32(at + FH, fd + 1)
    const isCached = this.isCachedByKernel(kind) && !(this.#options.directIoMmap && this.isInArena(slot))
    if (!isCached || this.isGranted(slot))
      reply.setU32(at + OPEN_FLAGS, FOPEN.DIRECT_IO | (this.#options.passthrough ? FOPEN.PARALLEL_DIRECT_WRITES : 0))
  }

  /**
   * Whether the kernel keeps a copy of what is read of a file that the daemon serves: one per clone. Where it cannot map files that are read
   * directly there is no choice.
   */
  isCachedByKernel(kind: number): boolean {
    return !this.#options.directIoMmap || (kind === SERVED.MAPPED && this.#options.divergedCached)
  }

  /** Only files that have handles: others may lie in file systems that do not answer, and be waited for under the slot's lock. */
  #keepWarm(slot: number, fd: number, flags: number): boolean {
    const inodes = this.#inodes
    if (isWriting(flags) || inodes.get(slot, SLOT.HANDLE_SIZE) === 0) return false
    if (inodes.get(slot, SLOT.WARM) > 0 || inodes.get(slot, SLOT.BACKING) === 0) return false
    return this.#warm.keep(slot, fd)
  }

  /** Under the slot's lock, of a private file: whether it is passed through to what `readFd`, a descriptor for reading, is open on. Then {@link open} asks no more of its descriptor. */
  passThrough(slot: number, readFd: number, stat: Statx): boolean {
    const kind = this.#serving.kind(slot)
    if (this.#mayRegister(slot, kind, stat)) this.#register(slot, readFd, stat)
    return this.#backing(slot) > 0
  }

  /**
   * Whether the slot's file, which is served as `kind`, gets a backing id with the next open: the first has one made. Not one that is append-only: the kernel does not know that it is, and would let who
   * is passed through map it for storing, and take O_APPEND away. The daemon's descriptor does not. One that nobody can write here is read from its home as ever.
   */
  #mayRegister(slot: number, kind: number, stat: Statx): boolean {
    const inodes = this.#inodes
    if (kind === SERVED.PRIVATE && isAppendOnly(stat)) return false
    if (kind === SERVED.MAPPED || !this.#options.passthrough || inodes.get(slot, SLOT.OPENS) > 0) return false
    return inodes.get(slot, SLOT.WARM) === 0 && inodes.get(slot, SLOT.BACKING) === 0 && !this.isGranted(slot)
  }

  /**
   * Has the kernel register the file open as `readFd`. Some can't be passed through (a file system stacked too deep): the daemon reads those. Of a pristine file this is only a hold on
   * the file itself, as an open file has: deleted below, it can still be asked for its attributes.
   *
   * Whoever is passed through writes as who registered. What root owns is taken to be written by root, who may fill what is kept for him.
   */
  #register(slot: number, readFd: number, stat: Statx): void {
    const register = () => backingOpen(this.#fuseFd, readFd)
    const backing = this.#options.keepsForRoot && stat.uid !== 0 ? asNobody(register) : register()
    this.#inodes.set(slot, SLOT.BACKING, Math.max(backing, 0))
  }

  #backing(slot: number): number {
    const kind = this.#serving.kind(slot)
    if (kind === SERVED.PRIVATE) return this.#inodes.get(slot, SLOT.BACKING)
    return kind === SERVED.PRISTINE ? this.#homes.backing(this.#inodes.get(slot, SLOT.HOME)) : 0
  }

  /** Takes one open file back; `handle` and `upper`: the halves of what OPEN gave, `flags` the client's. Returns bits of {@link RELEASED}. */
  release(slot: number, handle: number, upper: number, flags: number): number {
    if (handle > 0) close(syncHandle(handle) - 1)
    this.#locks.giveBackOpen(openNumber(upper))
    const lock = this.#inodes.lockOf(slot)
    lock.lock()
    try {
      const last = this.#inodes.get(slot, SLOT.OPENS) === 1
      if (isWriting(flags)) this.#inodes.set(slot, SLOT.WRITERS, this.#inodes.get(slot, SLOT.WRITERS) - 1)
      let what = 0
      if (last) {
        if (this.#inodes.get(slot, SLOT.COPIED) > 0) what |= RELEASED.COPIED
        this.#inodes.set(slot, SLOT.COPIED, 0)
        this.#releaseServing(slot)
      }
      return this.#inodes.countOpen(slot, -1) ? what | RELEASED.UNUSED : what
    } finally {
      lock.unlock()
    }
  }

  #releaseServing(slot: number): void {
    const backing = this.#inodes.get(slot, SLOT.BACKING)
    if (backing > 0 && this.#inodes.get(slot, SLOT.WARM) === 0) {
      this.#inodes.set(slot, SLOT.BACKING, 0)
      backingClose(this.#fuseFd, backing)
    }
    switch (this.#serving.kind(slot)) {
      case SERVED.PRISTINE:
        this.#homes.release(this.#inodes.get(slot, SLOT.HOME))
        break
      case SERVED.MAPPED:
        for (const home of this.#maps.homesOf(this.#inodes.get(slot, SLOT.MAP))) this.#homes.release(home.number)
        break
    }
  }
}

/** Whether the file may be appended to, and not be changed otherwise (`chattr +a`). */
const isAppendOnly = (stat: Statx): boolean => (stat.attributesLow & STATX_ATTR.APPEND) !== 0

/** The client may set and take away O_APPEND, and nobody is told, so each write says where it goes: `fd` does not. A file that may only be appended to keeps it: then the mark that says so. */
function takeAppendAway(fd: number, flags: number): number {
  const appends = isWriting(flags) && (flags & O_APPEND) !== 0
  return appends && setStatusFlags(fd, O_NONBLOCK) < 0 ? OPEN_APPEND_ONLY : 0
}
