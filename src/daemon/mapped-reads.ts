/** READ of a mapped file, as a worker does it: pieces of homes and of the file itself, one after the other. */
import type { OwnPages } from '../cache/own-pages.ts'
import { PieceWalk } from '../cache/resolve.ts'
import { OWN, type RunMap } from '../cache/run-map.ts'
import type { Reply, Request } from '../fuse/messages.ts'
import { SPLICE_BYTES_MIN, SplicedReply } from '../fuse/spliced-reply.ts'
import { ERRNO } from '../linux/errors.ts'
import { pread } from '../linux/file.ts'
import type { DirectReading } from './dax/direct-reading.ts'
import type { RequestStats } from './request-stats.ts'
import type { MappedFile } from './run-maps.ts'
import type { SharedHomes } from './shared-homes.ts'
import type { ServingOptions } from './shared-state.ts'

interface MappedReadsParts {
  readonly worker: number
  /** Where spliced answers go. */
  readonly fuseFd: number
  /** Whether any may go there. */
  readonly splices: boolean
  readonly homes: SharedHomes
  readonly stats: RequestStats
  readonly options: ServingOptions
}

export class MappedReads {
  readonly #worker: number
  readonly #homes: SharedHomes
  readonly #stats: RequestStats
  readonly #direct: DirectReading | undefined
  readonly #splices: boolean
  readonly #spliced: SplicedReply
  readonly #walk = new PieceWalk()

  /** `direct`: by which pages of homes are read where they lie; undefined: none are. */
  constructor({ worker, fuseFd, splices, homes, stats, options }: MappedReadsParts, direct: DirectReading | undefined) {
    this.#worker = worker
    this.#homes = homes
    this.#stats = stats
    this.#direct = direct
    this.#splices = splices
    this.#spliced = new SplicedReply(fuseFd, options.maxReadBytes)
  }

  /** Reads pieces of homes and of the file itself into the reply, one after the other, until all is read or the file ends. */
  read(
    { runs, direct: homesDirect }: MappedFile,
    ownFd: number,
    offset: number,
    size: number,
    fills: boolean,
    reply: Reply,
    written?: OwnPages,
  ): number {
    const walk = this.#walk
    walk.start(runs, offset, size, written)
    let done = 0
    while (walk.next()) {
      const target = walk.done === 0 ? reply.payload : reply.payload.subarray(walk.done)
      const own = walk.home === OWN
      if (
        homesDirect !== undefined &&
        this.#direct?.copy(homesDirect.get(walk.home), walk.offset, target, walk.length)
      ) {
        done += walk.length
        continue
      }
      const length = readPiece(own ? ownFd : this.#homes.fd(walk.home), target, walk.length, walk.offset, fills)
      if (length < 0) return done > 0 && !fills ? done : length
      if (own) this.#stats.addFromFiles(this.#worker, length)
      else this.#stats.addFromHomes(this.#worker, length)
      done += length
      // Short: the file was truncated below; what follows is no longer there.
      if (length < walk.length) break
    }
    return done
  }

  /** Whether an answer of `size` bytes is worth {@link splice}. */
  maySplice(size: number): boolean {
    return this.#splices && size >= SPLICE_BYTES_MIN && size <= this.#spliced.capacity
  }

  /**
   * As {@link read}, without copying what lies in homes: their pages never change, so they can be passed on by reference. The file's own are
   * read first, for what they are is known only then. False where it cannot be done so: then nothing has been answered.
   */
  splice(runs: RunMap, ownFd: number, offset: number, size: number, request: Request, reply: Reply): boolean {
    const walk = this.#walk
    const spliced = this.#spliced
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
      else error = spliced.addFile(this.#homes.fd(walk.home), walk.offset, walk.length)
    }
    if (error < 0) {
      spliced.abandon()
      return false
    }
    const sent = spliced.send()
    // ENOENT: the reader is gone. Any other error: the answer has to be given in another way, which counts what it reads.
    if (sent !== 0 && sent !== -ERRNO.ENOENT) return false
    this.#stats.addFromFiles(this.#worker, ownLength)
    this.#stats.addFromHomes(this.#worker, length - ownLength)
    return true
  }
}

/**
 * pread(2). Where the kernel fills its own copy (`fills`), it takes a short answer for the end of the file, and cuts the size off there:
 * so what an error cuts short is an error as a whole, after which the kernel asks page by page.
 */
export function readPiece(
  fd: number,
  target: Uint8Array,
  length: number,
  offset: number | bigint,
  fills: boolean,
): number {
  let done = pread(fd, target, length, offset)
  while (fills && done > 0 && done < length) {
    const more = pread(
      fd,
      target.subarray(done),
      length - done,
      typeof offset === 'bigint' ? offset + BigInt(done) : offset + done,
    )
    if (more < 0) return more
    if (more === 0) break
    done += more
  }
  return done
}
