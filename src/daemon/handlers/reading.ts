/** OPEN, READ, LSEEK, RELEASE of regular files: the path of a read through the daemon. */

import type { OwnPages } from '../../cache/own-pages.ts'
import { PieceWalk } from '../../cache/resolve.ts'
import { OWN, type RunMap } from '../../cache/run-map.ts'
import type { Reply, Request } from '../../fuse/messages.ts'
import { invalidateInode } from '../../fuse/notify.ts'
import { LSEEK_OUT_BYTES, type OpcodeName, READ_LOCKOWNER } from '../../fuse/protocol.ts'
import { type Handler, NO_REPLY } from '../../fuse/server.ts'
import { SPLICE_BYTES_MIN, SplicedReply } from '../../fuse/spliced-reply.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, lseek, O_ACCMODE, O_NONBLOCK, O_RDWR, pread, SEEK_DATA, SEEK_HOLE } from '../../linux/file.ts'
import { ArenaReads, type ArenaReadsParts } from '../content/arena-reads.ts'
import { ContentReader } from '../content/content-reader.ts'
import type { ArenaMemory } from '../content/mount-arena.ts'
import { NearArenaReads } from '../content/near-arena-reads.ts'
import { DirectReading } from '../dax/direct-reading.ts'
import { SLOT } from '../inode-table.ts'
import { NearServing } from '../near/near-serving.ts'
import { isWriting } from '../open-flags.ts'
import { ownHandle } from '../open-handle.ts'
import { RELEASED, UNDECIDED } from '../opening.ts'
import { OpeningBelow } from '../opening-below.ts'
import { OwnReadahead } from '../readahead.ts'
import type { MappedFile } from '../run-maps.ts'
import { seekMapped } from '../seeking.ts'
import { SERVED } from '../serving.ts'
import { freeSlot } from './attributes.ts'
import { type Context, nodeidOf, slotOf } from './context.ts'
import { lockKeyOf } from './locking.ts'

export function readingHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, homes, locks, maps, opening, options, serving, stat, stats, worker } = context

  const homeFd = (home: number): number => homes.fd(home)
  const below = new OpeningBelow(context)
  const walk = new PieceWalk()
  const readahead = new OwnReadahead(inodes)
  const spliced = new SplicedReply(context.fuseFd, options.maxReadBytes)
  const near = context.arena?.near && new NearServing(context.arena.near, context.fuseFd)
  const arena = context.arena && options.merge ? arenaReads(context.arena, near, { ...context, readPiece }) : undefined
  const direct = context.dax && new DirectReading(context.dax, context.arena, near, context)

  /**
   * pread(2). Where the kernel fills its own copy (`fills`), it takes a short answer for the end of the file, and cuts the size off there:
   * so what an error cuts short is an error as a whole, after which the kernel asks page by page.
   */
  function readPiece(fd: number, target: Uint8Array, length: number, offset: number, fills: boolean): number {
    let done = pread(fd, target, length, offset)
    while (fills && done > 0 && done < length) {
      const more = pread(fd, target.subarray(done), length - done, offset + done)
      if (more < 0) return more
      if (more === 0) break
      done += more
    }
    return done
  }

  /** Reads pieces of homes and of the file itself into the reply, one after the other, until all is read or the file ends. */
  function readMapped(
    { runs, direct: homesDirect }: MappedFile,
    ownFd: number,
    offset: number,
    size: number,
    fills: boolean,
    reply: Reply,
    written?: OwnPages,
  ): number {
    walk.start(runs, offset, size, written)
    let done = 0
    while (walk.next()) {
      const target = walk.done === 0 ? reply.payload : reply.payload.subarray(walk.done)
      const own = walk.home === OWN
      if (homesDirect !== undefined && direct?.copy(homesDirect.get(walk.home), walk.offset, target, walk.length)) {
        done += walk.length
        continue
      }
      const length = readPiece(own ? ownFd : homes.fd(walk.home), target, walk.length, walk.offset, fills)
      if (length < 0) return done > 0 && !fills ? done : length
      if (own) stats.addFromFiles(worker, length)
      else stats.addFromHomes(worker, length)
      done += length
      // Short: the file was truncated below; what follows is no longer there.
      if (length < walk.length) break
    }
    return done
  }

  /**
   * The same without copying what lies in homes: their pages never change, so they can be passed on by reference. The file's own are
   * read first, for what they are is known only then. False where it cannot be done so: then nothing has been answered.
   */
  function spliceMapped(
    runs: RunMap,
    ownFd: number,
    offset: number,
    size: number,
    request: Request,
    reply: Reply,
  ): boolean {
    walk.start(runs, offset, size)
    let length = 0
    let ownLength = 0
    while (walk.next()) {
      if (walk.home === OWN) {
        if (pread(ownFd, reply.payload.subarray(walk.done), walk.length, walk.offset) < walk.length) return false
        ownLength += walk.length
      }
      length += walk.length
    }
    let error = spliced.begin(request.uniqueLow, request.uniqueHigh, length)
    walk.start(runs, offset, size)
    while (error === 0 && walk.next()) {
      if (walk.home === OWN) error = spliced.addBytes(reply.payload.subarray(walk.done, walk.done + walk.length))
      else error = spliced.addFile(homes.fd(walk.home), walk.offset, walk.length)
    }
    if (error < 0) {
      spliced.abandon()
      return false
    }
    const sent = spliced.send()
    // ENOENT: the reader is gone. Any other error: the answer has to be given in another way, which counts what it reads.
    if (sent !== 0 && sent !== -ERRNO.ENOENT) return false
    stats.addFromFiles(worker, ownLength)
    stats.addFromHomes(worker, length - ownLength)
    return true
  }

  function fromFile(fd: number, size: number, offset: number, fills: boolean, reply: Reply): number {
    const length = readPiece(fd, reply.payload, size, offset, fills)
    if (length > 0) stats.addFromFiles(worker, length)
    return length
  }

  function seekOpen(slot: number, fd: number, offset: number, whence: number): number {
    const map = inodes.get(slot, SLOT.MAP)
    const mapped = map === 0 ? undefined : maps.get(map)
    if (mapped === undefined || mapped.content !== undefined) return lseek(fd, offset, whence)
    const error = stat.ofFd(fd)
    if (error < 0) return error
    return seekMapped({ runs: mapped.runs, own: writtenOf(mapped), ownFd: fd, homeFd }, stat.size, offset, whence)
  }

  function position(result: number, reply: Reply): number {
    if (result < 0) return result
    reply.setFloat64(0, result)
    return LSEEK_OUT_BYTES
  }

  return {
    OPEN(request, reply) {
      const slot = slotOf(request.nodeid)
      const flags = request.u32(0)
      const opened = opening.openWarm(slot, flags, stat, reply)
      if (opened !== UNDECIDED) return opened
      let fd = below.open(slot, flags, request.pid, stat)
      if (fd < 0) return fd
      near?.opened(fd, request.pid)
      // Before the answer: the size that the client asks for next is to be the new one. It waits for no other request, as it drops no pages.
      // Also where stores through a mapping that is passed through are going to change them without a word.
      if (opening.attributesAreOld(slot, stat) || (flags & O_ACCMODE) === O_RDWR)
        invalidateInode(context.fuseFd, request.nodeid, -1, 0)
      const lock = inodes.lockOf(slot)
      lock.lock()
      let result: number
      try {
        result = opening.join(slot, fd, stat, flags, reply)
      } finally {
        lock.unlock()
      }
      if (result !== UNDECIDED) return result
      if (isWriting(flags)) {
        // What is open for writing proves nothing.
        close(fd)
        fd = files.open(slot, O_NONBLOCK)
        if (fd < 0) return fd
        near?.opened(fd, request.pid)
      }
      const { uniqueLow, uniqueHigh } = request
      context.tellKeeper({ type: 'open', slot, fd, flags, fuseFd: context.fuseFd, uniqueLow, uniqueHigh })
      return NO_REPLY
    },

    READ(request, reply) {
      const handle = ownHandle(request.u32(0))
      if (handle === 0) return -ERRNO.EBADF
      const slot = slotOf(request.nodeid)
      const offset = request.u64(8)
      const size = Math.min(request.u32(16), reply.capacity)
      const fills = (request.u32(20) & READ_LOCKOWNER) === 0
      if (fills) {
        Atomics.store(inodes.words, inodes.at(slot) + SLOT.COPIED, 1)
        Atomics.store(inodes.words, inodes.at(slot) + SLOT.FILLED, 1)
        stats.addCopied(worker, size)
      }
      const map = inodes.get(slot, SLOT.MAP)
      if (map !== 0) {
        const mapped = maps.get(map)
        const { runs } = mapped
        const fd = handle - 1
        // Without the arena the file itself has all that is held there.
        if (mapped.content !== undefined)
          return arena === undefined
            ? fromFile(fd, size, offset, fills, reply)
            : arena.read({ slot, map, mapped, fd, offset, size, fills }, request, reply)
        const written = writtenOf(mapped)
        if (written === undefined) readahead.reading(slot, runs, fd, offset, size)
        if (direct !== undefined && mapped.direct !== undefined)
          return direct.serve(fd, size, request, reply, (reply) =>
            readMapped(mapped, fd, offset, size, fills, reply, written),
          )
        if (
          written === undefined &&
          context.splices &&
          size >= SPLICE_BYTES_MIN &&
          size <= spliced.capacity &&
          spliceMapped(runs, fd, offset, size, request, reply)
        )
          return NO_REPLY
        return readMapped(mapped, fd, offset, size, fills, reply, written)
      }
      return fromFile(handle - 1, size, offset, fills, reply)
    },

    /**
     * Only SEEK_DATA and SEEK_HOLE come here. Who is passed through to a home is told of that: it is what he reads. A file passed through to
     * itself has no descriptor here: one is opened for the question.
     */
    LSEEK(request, reply) {
      const whence = request.u32(16)
      if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -ERRNO.EINVAL
      const handle = ownHandle(request.u32(0))
      const slot = slotOf(request.nodeid)
      if (handle > 0) return position(seekOpen(slot, handle - 1, request.u64(8), whence), reply)
      if (serving.kind(slot) === SERVED.PRISTINE)
        return position(lseek(homes.fd(inodes.get(slot, SLOT.HOME)), request.u64(8), whence), reply)
      const fd = files.open(slot, O_NONBLOCK)
      if (fd < 0) return fd
      const result = position(lseek(fd, request.u64(8), whence), reply)
      close(fd)
      return result
    },

    RELEASE(request) {
      const slot = slotOf(request.nodeid)
      if (locks.mayHaveLocks(inodes.get(slot, SLOT.INO_LOW)))
        context.tellKeeper({ type: 'released', key: lockKeyOf(inodes, slot), open: request.u32(4) })
      const released = opening.release(slot, request.u32(0), request.u32(8))
      // The copy that the kernel made for mappings of this file is no longer needed: all of its memory goes.
      if (released & RELEASED.COPIED) context.invalidate({ nodeid: nodeidOf(slot), offset: 0 })
      if (released & RELEASED.UNUSED) freeSlot(context, slot)
      return 0
    },

    /** Nothing to flush: nobody writes, and locks are the kernel's. ENOSYS tells it not to ask again. */
    FLUSH: () => -ERRNO.ENOSYS,
    FSYNC: () => -ERRNO.ENOSYS,
  }
}

/** The pages that are the file's own since its map was made, if there are any. */
const writtenOf = ({ own }: MappedFile): OwnPages | undefined => (own?.isEmpty === false ? own : undefined)

function arenaReads(
  arena: ArenaMemory,
  near: NearServing | undefined,
  parts: ArenaReadsParts,
): ArenaReads | NearArenaReads {
  if (arena.near !== undefined && near !== undefined) return new NearArenaReads(arena, arena.near, near, parts)
  return new ArenaReads(new ContentReader(arena), parts)
}
