/** OPENDIR, READDIR, READDIRPLUS, RELEASEDIR: a directory is read at the positions that the file system below gives. */

import type { Reply, Request } from '../../fuse/messages.ts'
import { DIRENT_HEADER_BYTES, ENTRY_OUT_BYTES, OPEN_OUT_BYTES, type OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { DIRENT_NAME, getdents } from '../../linux/dirents.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, lseek, O_DIRECTORY, SEEK_SET } from '../../linux/file.ts'
import { SLOT, SLOT_FLAG } from '../inode-table.ts'
import { freeSlot } from './attributes.ts'
import { type Context, setEntry, slotOf } from './context.ts'

/** Of what getdents(2) gives for one name. */
const RECORD_BYTES_MAX = 280

/** The file handle of an empty directory that stands for another file system. */
const HIDDEN_HANDLE = 0

export function directoryHandlers(context: Context): Partial<Record<OpcodeName, Handler>> {
  const { inodes, files, filesystems, listings, source, options, advice, stat } = context
  const buffer = new Uint8Array(new ArrayBuffer(64 << 10))
  const words = new Uint32Array(buffer.buffer)
  const shorts = new Uint16Array(buffer.buffer)

  /**
   * Reads records from the request's position on and hands them to `add` until it says that the reply is full
   * (returns a negative number). With `lookUp` each entry comes with its inode. Records that did not fit are read again by the next request, which gives its position.
   */
  function readDirectory(request: Request, reply: Reply, plus: boolean, lookUp = plus): number {
    const handle = request.u64(0)
    if (handle === HIDDEN_HANDLE) return 0
    const fd = handle - 1
    const slot = slotOf(request.nodeid)
    const position = request.i64(8)
    if (position === 0n) listings.begun(slot)
    const size = Math.min(request.u32(16), reply.capacity)
    const error = lseek(fd, position, SEEK_SET)
    if (error < 0) return error
    // Once for all entries: what is not written to is padding, and of an entry without its inode most.
    reply.zero(0, size)
    let used = 0
    for (;;) {
      // Not much more than what fits: a record here is a little shorter than in the reply.
      const wanted = Math.max(512, Math.min(buffer.length, plus ? (size - used) >> 2 : size - used))
      const length = getdents(fd, buffer, wanted)
      if (length < 0) return used > 0 ? used : length
      if (length === 0) return used
      for (let at = 0; at < length; at += shorts[(at + 16) >> 1]!) {
        const added = addEntry(slot, fd, reply, used, size, at, plus, lookUp)
        if (added < 0) return used > 0 ? used : added
        if (added === 0) return used
        used += added
      }
      // That was the end: the kernel asks once more anyway, before it believes that.
      if (length < wanted - RECORD_BYTES_MAX) return used
      if (size - used < (plus ? ENTRY_OUT_BYTES : 0) + DIRENT_HEADER_BYTES + 256) return used
    }
  }

  /** Adds the record at `at` of the buffer: bytes used, or 0 where it does not fit. */
  function addEntry(
    parent: number,
    dirFd: number,
    reply: Reply,
    used: number,
    size: number,
    at: number,
    plus: boolean,
    lookUp: boolean,
  ): number {
    const nameAt = at + DIRENT_NAME
    let nameEnd = nameAt
    while (buffer[nameEnd] !== 0) nameEnd++
    const nameLength = nameEnd - nameAt
    const header = (plus ? ENTRY_OUT_BYTES : 0) + DIRENT_HEADER_BYTES
    const bytes = (header + nameLength + 7) & ~7
    if (used + bytes > size) return 0
    let inoLow = words[at >> 2]!
    let inoHigh = filesystems.shownInoHigh(inodes.get(parent, SLOT.FS), words[(at + 4) >> 2]!)
    let out = used
    if (plus) {
      const isDot = buffer[nameAt] === 0x2e && (nameLength === 1 || (nameLength === 2 && buffer[nameAt + 1] === 0x2e))
      // An entry that vanished, or can't be looked up now, is listed without its inode: the kernel asks when it needs it.
      const slot = isDot || !lookUp ? -1 : files.lookUpIn(parent, dirFd, buffer.subarray(nameAt, nameEnd + 1), stat)
      if (slot >= 0) {
        setEntry(context, slot, reply, out)
        inoLow = stat.inoLow
        inoHigh = filesystems.shownInoHigh(inodes.get(slot, SLOT.FS), stat.inoHigh)
      }
      out += ENTRY_OUT_BYTES
    }
    reply.setU64(out, inoLow, inoHigh)
    reply.setU64(out + 8, words[(at + 8) >> 2]!, words[(at + 12) >> 2]!)
    reply.setU32(out + 16, nameLength)
    reply.setU32(out + 20, buffer[at + 18]!)
    const target = out + DIRENT_HEADER_BYTES
    for (let i = 0; i < nameLength; i++) reply.payload[target + i] = buffer[nameAt + i]!
    return bytes
  }

  const isOfSource = (slot: number) => filesystems.isOfMount(inodes.get(slot, SLOT.FS), source.rootMountId)

  return {
    OPENDIR(request, reply) {
      const slot = slotOf(request.nodeid)
      reply.zero(0, OPEN_OUT_BYTES)
      if ((inodes.get(slot, SLOT.FLAGS) & SLOT_FLAG.HIDDEN) === 0) {
        const fd = files.openForClient(slot, O_DIRECTORY)
        if (fd < 0) return fd
        reply.setU32(0, fd + 1)
        reply.setU32(8, listings.open(slot, fd, stat, options.keepsLists && advice.expectsNames && isOfSource(slot)))
      } else inodes.countOpen(slot, 1)
      return OPEN_OUT_BYTES
    },

    READDIR: (request, reply) => readDirectory(request, reply, false),
    READDIRPLUS(request, reply) {
      const position = request.u64(8)
      return readDirectory(request, reply, true, position !== 0 || advice.takeForListing())
    },

    RELEASEDIR(request) {
      const handle = request.u64(0)
      const slot = slotOf(request.nodeid)
      if (handle !== HIDDEN_HANDLE) close(handle - 1)
      if (inodes.countOpen(slot, -1)) freeSlot(context, slot)
      return 0
    },

    FSYNCDIR: () => -ERRNO.ENOSYS,
  }
}
