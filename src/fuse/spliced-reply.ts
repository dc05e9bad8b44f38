/**
 * Answers to large reads that are never copied into this process: a pipe collects references to pages of the page
 * cache, behind a header, and all of it is moved to /dev/fuse at once, which copies it to the reader. (After libfuse's
 * splice write.) Only for files whose bytes do not change: what the pipe refers to is read when it arrives.
 */
import { ERRNO } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { write } from '../linux/fuse-device.ts'
import { openPipe, setPipeSize, spliceFromFile, spliceToDevice } from '../linux/pipe.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { OUT_HEADER_BYTES } from './protocol.ts'

export class SplicedReply {
  /** Payload bytes that fit, which depends on how large a pipe this process may have; larger answers have to be copied. */
  readonly capacity: number
  readonly #fuseFd: number
  readonly #pipeBytes: number
  readonly #header = new Uint32Array(OUT_HEADER_BYTES >> 2)
  #read = -1
  #write = -1
  #collected = 0

  constructor(fuseFd: number, maxBytes: number) {
    this.#fuseFd = fuseFd
    // A slot per page, and one for each place where a piece begins or ends inside a page: twice the pages is always enough. Without
    // CAP_SYS_RESOURCE the limit is fs.pipe-max-size, 1 MiB unless somebody has changed it.
    let bytes = maxBytes * 2
    while (!this.#open(bytes)) bytes /= 2
    this.#pipeBytes = bytes
    this.capacity = bytes / 2
  }

  /** The largest answer, up to `maxBytes`, for which this process may have the pipe: larger reads are better asked for in parts. */
  static largest(maxBytes: number): number {
    const reply = new SplicedReply(-1, maxBytes)
    reply.#close()
    return reply.capacity
  }

  /** Begins an answer of `length` payload bytes: 0 or -errno. */
  begin(uniqueLow: number, uniqueHigh: number, length: number): number {
    this.#header[0] = OUT_HEADER_BYTES + length
    this.#header[1] = 0
    this.#header[2] = uniqueLow
    this.#header[3] = uniqueHigh
    this.#collected = OUT_HEADER_BYTES
    return this.#taken(write(this.#write, this.#header, OUT_HEADER_BYTES), OUT_HEADER_BYTES)
  }

  /** Adds bytes of a file: 0 or -errno (EIO also where the file ends before). */
  addFile(fd: number, offset: number, length: number): number {
    for (let done = 0; done < length; ) {
      const moved = spliceFromFile(fd, offset + done, this.#write, length - done)
      if (moved === -ERRNO.EINTR) continue
      if (moved <= 0) return moved === 0 ? -ERRNO.EIO : moved
      done += moved
    }
    this.#collected += length
    return 0
  }

  /** Adds bytes of memory, which are copied: 0 or -errno. */
  addBytes(bytes: Uint8Array): number {
    this.#collected += bytes.length
    return this.#taken(write(this.#write, bytes, bytes.length), bytes.length)
  }

  /** Sends what was added: 0 or -errno. */
  send(): number {
    const error = this.#taken(spliceToDevice(this.#read, this.#fuseFd, this.#collected), this.#collected)
    if (error < 0) this.abandon()
    return error
  }

  /** After an error: what the pipe holds must not end up in the next answer. Where no other is to be had, answers fail until one is. */
  abandon(): void {
    this.#close()
    try {
      this.#open(this.#pipeBytes)
    } catch {
      // No descriptors left: the next answer, which fails, tries again.
    }
  }

  #taken(result: number, wanted: number): number {
    if (result < 0) return result
    return result === wanted ? 0 : -ERRNO.EIO
  }

  #open(bytes: number): boolean {
    ;[this.#read, this.#write] = openPipe()
    if (setPipeSize(this.#write, bytes) >= bytes || bytes <= PAGE_BYTES) return true
    this.#close()
    return false
  }

  /** Their numbers may soon be those of other files, so they are not kept. */
  #close(): void {
    close(this.#read)
    close(this.#write)
    this.#read = -1
    this.#write = -1
  }
}

/** Below this, copying costs less than the pages' references. */
export const SPLICE_BYTES_MIN = 16 * PAGE_BYTES
