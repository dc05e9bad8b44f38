/**
 * Changes of files, written through to them.
 *
 * ```
 *   write   pages become the file's own → are dropped → the file is written → whole pages are cached anew
 * ```
 * Context: the keeper's thread.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'
import { PAGE_BYTES } from '../cache/entry.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import type { Arena } from './arena.ts'
import { type CachedInode, NO_STAMP } from './cached-inode.ts'
import { CombinedWrites, writeBuffers } from './combined-writes.ts'
import { withPath } from './errors.ts'
import { cacheWritten } from './file-pieces.ts'
import type { Passages } from './grants/passages.ts'
import type { Loader } from './loader.ts'

const truncateFile = promisify(fs.ftruncate)

export interface FileWriterParts {
  readonly pages: PageKeeper
  readonly arena: Arena
  readonly loader: Loader
  readonly passages: Passages
  /** The inode is used once less. */
  readonly close: (inode: CachedInode) => void
  /** Where there is no space: gives back what it can. */
  readonly makeSpace: () => Promise<void>
  /** Files are of a mount, which refuses (EAGAIN) what is granted to somebody. */
  readonly isRefusing: boolean
}

export class FileWriter {
  readonly #parts: FileWriterParts

  constructor(parts: FileWriterParts) {
    this.#parts = parts
  }

  /**
   * Writes all of `bytes` through to the file. Rejects with the system's error; then part of it may have been written. Where there is no space, homes that nobody
   * uses now are dropped, and it is tried again. Grants as for {@link load}.
   */
  async write(inode: CachedInode, bytes: Uint8Array, position: number, wait = true): Promise<void> {
    await this.#using(inode, () => this.again(wait, () => this.#write(inode, bytes, position, wait)))
  }

  async #write(inode: CachedInode, bytes: Uint8Array, position: number, wait: boolean): Promise<void> {
    const leave = await this.#parts.passages.change(inode, position, position + bytes.length, wait)
    const end = this.#beginWrite(inode, bytes.length, position)
    try {
      inode.writes ??= new CombinedWrites(
        (buffers, at) => writeBuffers(inode.writeFd, buffers, at),
        this.#parts.makeSpace,
      )
      await inode.writes.write(bytes, position)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      this.lookAtSize(inode)
      leave()
    }
  }

  /** The same, blocking; does not wait for grants. */
  writeSync(inode: CachedInode, bytes: Uint8Array, position: number, near: number): void {
    const leave = this.#parts.passages.changeSync(inode, position, position + bytes.length)
    const end = this.#beginWrite(inode, bytes.length, position)
    try {
      for (let done = 0; done < bytes.length; )
        done += fs.writeSync(inode.writeFd, bytes, done, bytes.length - done, position + done)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      leave()
      this.lookAtSize(inode)
    }
    cacheWritten(this.#parts.pages, this.#parts.arena, inode, bytes, position, near)
  }

  /** Sets the file's length. Rejects with the system's error. Grants behind the new end as for {@link load}. */
  async truncate(inode: CachedInode, length: number): Promise<void> {
    await this.#using(inode, () => this.again(true, () => this.#truncate(inode, length)))
  }

  async #truncate(inode: CachedInode, length: number): Promise<void> {
    const leave = await this.#parts.passages.change(inode, length, Number.POSITIVE_INFINITY, true)
    const end = this.#beginTruncate(inode, length)
    try {
      await truncateFile(inode.writeFd, length)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      this.lookAtSize(inode)
      leave()
    }
  }

  /** The same, blocking; does not wait for grants. */
  truncateSync(inode: CachedInode, length: number): void {
    const leave = this.#parts.passages.changeSync(inode, length, Number.POSITIVE_INFINITY)
    const end = this.#beginTruncate(inode, length)
    try {
      fs.ftruncateSync(inode.writeFd, length)
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      end()
      this.lookAtSize(inode)
      leave()
    }
  }

  #beginTruncate(inode: CachedInode, length: number): () => void {
    return this.#beginChange(inode, Math.min(length, inode.size), Number.POSITIVE_INFINITY)
  }

  /** Runs it until it is not refused any more. In a mount what is granted just now is refused, also to who has waited for his turn here: he has to once more. `wait`: whether he would. */
  async again<T>(wait: boolean, run: () => Promise<T>): Promise<T> {
    for (;;)
      try {
        return await run()
      } catch (error) {
        if (!wait || !this.#isKeptOut(error)) throw error
      }
  }

  #isKeptOut(error: unknown): boolean {
    return this.#parts.isRefusing && (error as NodeJS.ErrnoException).code === 'EAGAIN'
  }

  /** The inode's descriptors stay open until `run` has ended. */
  async #using(inode: CachedInode, run: () => Promise<void>): Promise<void> {
    inode.uses++
    try {
      await run()
    } finally {
      this.#parts.close(inode)
    }
  }

  #beginWrite(inode: CachedInode, length: number, position: number): () => void {
    this.#parts.loader.merging?.pages.wrote(
      inode.mapping,
      Math.floor(position / PAGE_BYTES),
      Math.ceil((position + length) / PAGE_BYTES),
    )
    // What lies between the file's end and a write behind it becomes zeros.
    return this.#beginChange(inode, Math.min(position, inode.size), position + length)
  }

  /** Before bytes [start, end) of the file change. They are not cached again until the returned function is called. */
  #beginChange(inode: CachedInode, start: number, end: number): () => void {
    // It is not what was decided on: whoever opens it next finds that out, and whether somebody else has changed it, too.
    inode.stamp = NO_STAMP
    inode.own?.add(start, end)
    this.#parts.pages.drop(
      inode.mapping,
      Math.floor(start / PAGE_BYTES),
      Math.min(Math.ceil(end / PAGE_BYTES), PAGES_MAX),
    )
    return inode.beginWriting(start, end)
  }

  /** The file may have another size by now. */
  lookAtSize(inode: CachedInode): void {
    const size = fs.fstatSync(inode.fd).size
    // What was beyond the end is not there, even if it comes back; and what is there now, whoever put it there, is the file's own.
    if (size !== inode.size) {
      const end = Math.min(size, inode.size)
      inode.own?.add(end, Number.POSITIVE_INFINITY)
      this.#parts.pages.drop(inode.mapping, Math.floor(end / PAGE_BYTES), PAGES_MAX)
    }
    inode.size = size
    this.#parts.pages.mappings.setSize(inode.mapping, size)
  }
}
