/** READDIR, READDIRPLUS: records as getdents(2) gives them become entries of the reply. Context: one worker's thread. */
import type { Reply, Request } from '../../fuse/messages.ts'
import { DIRENT_HEADER_BYTES, ENTRY_OUT_BYTES } from '../../fuse/protocol.ts'
import { DIRENT_NAME, getdents } from '../../linux/dirents.ts'
import { lseek, SEEK_SET } from '../../linux/file.ts'
import { SLOT } from '../inode-table.ts'
import { type Context, setEntry, slotOf } from './context.ts'

/** The file handle of an empty directory that stands for another file system. */
export const HIDDEN_HANDLE = 0

/** Of what getdents(2) gives for one name. */
const RECORD_BYTES_MAX = 280

export class DirectoryReader {
  readonly #context: Context
  /** What getdents(2) gave, as bytes and as numbers. */
  readonly #buffer = new Uint8Array(new ArrayBuffer(64 << 10))
  readonly #words = new Uint32Array(this.#buffer.buffer)
  readonly #shorts = new Uint16Array(this.#buffer.buffer)

  constructor(context: Context) {
    this.#context = context
  }

  /**
   * Reads records from the request's position on, and adds an entry for each until the reply is full. With `lookUp` each entry comes with its inode. Records that did not fit are read again by the next request, which gives its position.
   */
  read(request: Request, reply: Reply, plus: boolean, lookUp = plus): number {
    const buffer = this.#buffer
    const shorts = this.#shorts
    const handle = request.u64(0)
    if (handle === HIDDEN_HANDLE) return 0
    const fd = handle - 1
    const slot = slotOf(request.nodeid)
    const position = request.i64(8)
    if (position === 0n) this.#context.listings.begun(slot)
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
        const added = this.#addEntry(slot, fd, reply, used, size, at, plus, lookUp)
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
  #addEntry(
    parent: number,
    dirFd: number,
    reply: Reply,
    used: number,
    size: number,
    at: number,
    plus: boolean,
    lookUp: boolean,
  ): number {
    const buffer = this.#buffer
    const words = this.#words
    const { inodes, files, filesystems, stat } = this.#context
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
        setEntry(this.#context, slot, reply, out)
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
}
