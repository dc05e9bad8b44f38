/**
 * READ requests whose pages are not in the arena: a worker hands them to the keeper, and is free again. Here the pages are loaded, past the kernel's own cache where the
 * file system can, and the kernel is answered. What cannot be had in the arena (no room, the file has changed) is read from the file itself, which is always right.
 *
 * Also what a sequential reader is going to want next, which nobody waits for.
 *
 * Context: the keeper's thread.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { OwnPages } from '../../cache/own-pages.ts'
import { WINDOW_MAX } from '../../cache/readahead.ts'
import { PieceWalk } from '../../cache/resolve.ts'
import { ARENA, RunMap } from '../../cache/run-map.ts'
import { Reply } from '../../fuse/messages.ts'
import { OUT_HEADER_BYTES } from '../../fuse/protocol.ts'
import { errorCode } from '../../homes/failures.ts'
import type { PageSource } from '../../library/page-source.ts'
import { ERRNO } from '../../linux/errors.ts'
import { close, fadvise, O_NONBLOCK, O_RDONLY, POSIX_FADV_DONTNEED, reopen } from '../../linux/file.ts'
import { write } from '../../linux/fuse-device.ts'
import { Statx } from '../../linux/statx.ts'
import { type InodeTable, SLOT } from '../inode-table.ts'
import type { ToKeeper } from '../shared-state.ts'
import type { ServingState } from '../slot-serving.ts'
import type { ContentCache } from './content-cache.ts'
import { type ContentFile, isSameState } from './content-files.ts'
import { ContentReader } from './content-reader.ts'
import type { ArenaMemory } from './mount-arena.ts'
import { NearContentReader } from './near-content-reader.ts'

const pread = promisify(fs.read)

type ReadRequest = Extract<ToKeeper, { type: 'read' }>
type AheadRequest = Extract<ToKeeper, { type: 'readAhead' }>

/** A file that is read from the arena, by its run map. */
export interface MappedContent {
  readonly content: ContentFile
  readonly runs: RunMap
  readonly own: OwnPages
}

interface HandedReadsParts {
  readonly arena: ArenaMemory
  readonly contents: ContentCache
  readonly inodes: InodeTable
  readonly serving: ServingState
  readonly contentOf: (map: number) => MappedContent | undefined
  /** Is told of a defect of ours. */
  readonly failed: (error: unknown) => void
}

export class HandedReads {
  readonly #parts: HandedReadsParts
  readonly #reader: ContentReader
  readonly #nearReader: NearContentReader | undefined
  /** Read from files, because it could not be had in the arena; and from the arena. */
  readonly bytes = { fromFiles: 0, fromArena: 0 }

  constructor(parts: HandedReadsParts) {
    this.#parts = parts
    const { arena } = parts
    // What was just loaded says nothing about who reads it often.
    this.#nearReader = arena.near && new NearContentReader(arena, arena.near, () => {})
    this.#reader = this.#nearReader ?? new ContentReader(arena)
  }

  /** Takes a message from a worker; false where it is none of these. */
  receive(message: ToKeeper): boolean {
    if (message.type === 'read') void this.#read(message)
    else if (message.type === 'readAhead') void this.#readAhead(message)
    else return false
    return true
  }

  async #read(request: ReadRequest): Promise<void> {
    const { uniqueLow, uniqueHigh, size } = request
    const mapped = this.#parts.contentOf(request.map)
    const reply = new Reply(OUT_HEADER_BYTES + ((size + 3) & ~3))
    let result = -ERRNO.EIO
    try {
      if (mapped !== undefined) {
        await this.#load(request, mapped)
        result = await this.#fill(request, mapped, reply)
      } else close(request.loadFd)
    } catch (error) {
      if (errorCode(error) === undefined) this.#parts.failed(error)
      result = (error as { errno?: number }).errno ?? -ERRNO.EIO
    }
    // Whoever waits may be gone: then this fails, and nobody misses it.
    write(request.fuseFd, reply.bytes, reply.finish(uniqueLow, uniqueHigh, Math.min(result, 0), Math.max(result, 0)))
  }

  /** What the request wants and lacks. Where it cannot be read, who tries it next says why. */
  async #load({ slot, map, near, loadFd, isDirect, offset, size }: ReadRequest, mapped: MappedContent): Promise<void> {
    const first = Math.floor(offset / PAGE_BYTES)
    const count = Math.ceil((offset + size) / PAGE_BYTES) - first
    const source = new OpenedForLoad(this.#parts, slot, map, mapped, loadFd, isDirect)
    try {
      await this.#parts.contents.load(mapped.content, source, first, count, count, near)
    } catch (error) {
      if (errorCode(error) === undefined) throw error
    } finally {
      source.close(first, count)
    }
  }

  async #readAhead({ slot, map, near, loadFd, isDirect, page, count }: AheadRequest): Promise<void> {
    const mapped = this.#parts.contentOf(map)
    if (mapped === undefined) {
      close(loadFd)
      return
    }
    const source = new OpenedForLoad(this.#parts, slot, map, mapped, loadFd, isDirect)
    try {
      for (let done = 0; done < count; done += WINDOW_MAX)
        await this.#parts.contents.load(
          mapped.content,
          source,
          page + done,
          Math.min(WINDOW_MAX, count - done),
          0,
          near,
        )
    } catch (error) {
      // Nobody waits who could be answered.
      if (errorCode(error) === undefined) this.#parts.failed(error)
    } finally {
      source.close(page, count)
    }
  }

  /** Reads the pieces of the request into `reply`: bytes, up to the end of the file, or -errno. */
  async #fill(request: ReadRequest, { content, runs, own }: MappedContent, reply: Reply): Promise<number> {
    const { fd, offset, size, fills, near } = request
    const walk = new PieceWalk()
    const { payload } = reply
    walk.start(RunMap.attach(runs.buffer), offset, size, own.isEmpty ? undefined : own)
    let done = 0
    while (walk.next()) {
      const { done: at, length, offset: position } = walk
      this.#nearReader?.at(near, near)
      let have = walk.home === ARENA ? this.#reader.copy(content, position, payload.subarray(at), length) : 0
      this.bytes.fromArena += have
      try {
        const read =
          have < length ? await this.#readPiece(fd, payload, at + have, length - have, position + have, fills) : 0
        this.bytes.fromFiles += read
        have += read
      } catch (error) {
        // As read(2): what was read before counts, unless the kernel would take it for the end of the file.
        if (done + have === 0 || fills) throw error
      }
      done += have
      if (have < length) break
    }
    return done
  }

  /** As `readPiece` of the workers. */
  async #readPiece(
    fd: number,
    target: Uint8Array,
    at: number,
    length: number,
    position: number,
    fills: boolean,
  ): Promise<number> {
    let done = 0
    do {
      const { bytesRead } = await pread(fd, target, at + done, length - done, position + done)
      if (bytesRead === 0) break
      done += bytesRead
    } while (fills && done < length)
    return done
  }
}

/** A file opened for one load. */
class OpenedForLoad implements PageSource {
  readonly mapping: number
  readonly size: number
  readonly directFd: number
  refusesDirect = false
  readonly #parts: HandedReadsParts
  readonly #slot: number
  readonly #map: number
  readonly #mapped: MappedContent
  readonly #loadFd: number
  readonly #stat = new Statx()
  #bufferedFd = -1

  /** `fd` becomes its own. */
  constructor(
    parts: HandedReadsParts,
    slot: number,
    map: number,
    mapped: MappedContent,
    fd: number,
    isDirect: boolean,
  ) {
    this.#parts = parts
    this.#slot = slot
    this.#map = map
    this.#mapped = mapped
    this.#loadFd = fd
    this.mapping = mapped.content.mapping
    this.size = mapped.content.state.size
    this.directFd = isDirect ? fd : -1
  }

  /** For reading through the kernel's cache: opened when that is needed. */
  get fd(): number {
    if (this.directFd < 0) this.#bufferedFd = this.#loadFd
    else if (this.#bufferedFd < 0) this.#bufferedFd = reopen(this.#loadFd, O_RDONLY | O_NONBLOCK)
    return this.#bufferedFd
  }

  /** Whether nothing has been written, as far as is known: then what is loaded can be published. */
  isAtRest(_page: number, _count: number): boolean {
    return this.#mapped.own.isEmpty
  }

  /**
   * Of what was read the state says whether it is the file's in that state. Where somebody else has changed it, it is read from itself from now on; who opens it finds another
   * state, and does not join.
   */
  isStill(): boolean {
    const { content, own } = this.#mapped
    if (this.#stat.ofFd(this.#loadFd) === 0 && isSameState(content.state, this.#stat)) return true
    const { inodes, serving } = this.#parts
    const isOurs = inodes.get(this.#slot, SLOT.MAP) === this.#map && serving.isWritten(this.#slot)
    if (isOurs) own.noteWritten()
    else own.addAll()
    return false
  }

  /** A short read of a file that is as long as it was: a signal. */
  onShrunk(): void {}

  /** `page` and `count`: what was to be loaded. */
  close(page: number, count: number): void {
    // No page is to stay in both memories, whether it was read through the kernel's just now or was there from before.
    fadvise(this.#loadFd, page * PAGE_BYTES, count * PAGE_BYTES, POSIX_FADV_DONTNEED)
    if (this.#bufferedFd >= 0 && this.#bufferedFd !== this.#loadFd) close(this.#bufferedFd)
    close(this.#loadFd)
  }
}
