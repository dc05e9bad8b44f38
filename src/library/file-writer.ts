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
import { TIMERS } from '../util/timers.ts'
import { type CachedInode, NO_STAMP } from './cached-inode.ts'
import { CombinedWrites, writeBuffers } from './combined-writes.ts'
import { callBytes, withPath } from './errors.ts'
import type { Leave, Passages } from './grants/passages.ts'
import { refusedError } from './grants/refused.ts'
import { WriteTurns } from './grants/write-turns.ts'
import type { Loader } from './loader.ts'

const truncateFile = promisify(fs.ftruncate)

interface FileWriterParts {
  readonly pages: PageKeeper
  readonly loader: Loader
  readonly passages: Passages
  /** The inode is used once less by who writes. */
  readonly close: (inode: CachedInode) => void
  /** Where there is no space: gives back what it can. */
  readonly makeSpace: () => Promise<void>
}

interface Failed {
  readonly error: unknown
}

export class FileWriter {
  readonly #parts: FileWriterParts
  readonly #turns = new WriteTurns<CachedInode>()

  constructor(parts: FileWriterParts) {
    this.#parts = parts
  }

  /**
   * Writes all of `bytes` through to the file. Rejects with the system's error; then part of it may have been written. Where there is no space, homes that nobody
   * uses now are dropped, and it is tried again. Grants as for {@link FileKeeper.load}.
   */
  async write(inode: CachedInode, bytes: Uint8Array, position: number, wait = true): Promise<void> {
    const begin = () => this.#beginWrite(inode, bytes.length, position)
    const change = () => this.#writesOf(inode).write(bytes, position)
    await this.#inTurn(inode, position, position + bytes.length, wait, begin, change)
  }

  /** The same, blocking; does not wait for grants. */
  writeSync(inode: CachedInode, bytes: Uint8Array, position: number, near: number): void {
    const { passages, loader } = this.#parts
    const leave = passages.changeSync(inode, position, position + bytes.length)
    this.#changeSync(inode, leave, this.#beginWrite(inode, bytes.length, position), () => {
      for (let done = 0; done < bytes.length; )
        done += fs.writeSync(inode.writeFd, bytes, done, callBytes(bytes.length - done), position + done)
    })
    loader.cacheWritten(inode, bytes, position, near)
  }

  /** Sets the file's length, after the writes that were asked for before it and before those that come later. Rejects with the system's error. Grants behind the new end as for {@link FileKeeper.load}. */
  async truncate(inode: CachedInode, length: number): Promise<void> {
    const begin = () => this.#beginTruncate(inode, length)
    const change = () => this.#writesOf(inode).alone(() => truncateFile(inode.writeFd, length))
    await this.#inTurn(inode, length, Number.POSITIVE_INFINITY, true, begin, change)
  }

  /** The same, blocking; does not wait for grants. */
  truncateSync(inode: CachedInode, length: number): void {
    const leave = this.#parts.passages.changeSync(inode, length, Number.POSITIVE_INFINITY)
    this.#changeSync(inode, leave, this.#beginTruncate(inode, length), () => fs.ftruncateSync(inode.writeFd, length))
  }

  #writesOf(inode: CachedInode): CombinedWrites {
    inode.writes ??= new CombinedWrites(
      (buffers, at) => writeBuffers(inode.writeFd, buffers, at),
      this.#parts.makeSpace,
    )
    return inode.writes
  }

  /** Makes a change that has its passage, until `leave` is called, and has begun, until `end` is. */
  async #change(inode: CachedInode, leave: Leave, end: () => void, change: () => Promise<void>): Promise<void> {
    let failed: Failed | undefined
    try {
      await change()
    } catch (error) {
      failed = { error }
    }
    this.#end(inode, leave, end, failed)
  }

  #changeSync(inode: CachedInode, leave: Leave, end: () => void, change: () => void): void {
    let failed: Failed | undefined
    try {
      change()
    } catch (error) {
      failed = { error }
    }
    this.#end(inode, leave, end, failed)
  }

  /** Throws why the change has failed; else why nobody knows what size it has left, as it happens on network file systems. */
  #end(inode: CachedInode, leave: Leave, end: () => void, failed: Failed | undefined): void {
    end()
    try {
      this.lookAtSize(inode)
    } catch (error) {
      failed ??= { error }
    }
    leave()
    if (failed !== undefined) throw withPath(failed.error, inode.path)
  }

  /**
   * Makes a change of bytes [start, end), from the function on that `begin` returns until that is called, when its turn has come: {@link Passages.again}, and after those that overlap it and came before.
   * The inode's descriptors stay open until it has ended.
   */
  async #inTurn(
    inode: CachedInode,
    start: number,
    end: number,
    wait: boolean,
    begin: () => () => void,
    change: () => Promise<void>,
  ): Promise<void> {
    const { passages } = this.#parts
    const earlier = this.#turns.overlapping(inode, start, end)
    const isRemembered = earlier !== undefined || passages.isRefused
    let turn = isRemembered ? this.#turns.begin(inode, start, end) : undefined
    const onWaiting = (): void => {
      turn ??= this.#turns.begin(inode, start, end)
      turn.waits()
    }
    inode.use(true)
    try {
      let deadlineMs: number | undefined
      if (earlier !== undefined) {
        deadlineMs = TIMERS.now() + passages.waitMs
        if (!(await turn!.follow(earlier, wait, deadlineMs)))
          throw refusedError(wait ? 'ETIMEDOUT' : 'EAGAIN', 'write', inode.path)
      }
      await passages.again(wait, async () => {
        const restMs = deadlineMs === undefined ? undefined : Math.max(0, deadlineMs - TIMERS.now())
        const leave = await passages.change(inode, start, end, wait, onWaiting, restMs)
        turn?.enters()
        await this.#change(inode, leave, begin(), change)
      })
    } finally {
      if (turn !== undefined) this.#turns.end(inode, turn)
      this.#parts.close(inode)
    }
  }

  #beginTruncate(inode: CachedInode, length: number): () => void {
    return this.#beginChange(inode, Math.min(length, inode.size), Number.POSITIVE_INFINITY)
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
