/**
 * Grants of files' pages, on the keeper's side: who decides is the authority, the table of this cache if no other; here is what becomes of pages and bytes.
 *
 * ```
 *   grant     the authority's turn → (readers wait: pages become the file's own, entries exclusive) → a private copy of the bytes
 *   publish   readers inside leave → the old bytes are kept → the file is written (and synced) → all see the new ones : the old ones are put back
 *   end       entries are empty, the next one has its turn
 * ```
 * Readers and writers: see passages.ts.
 *
 * Context: the keeper's thread.
 */
import fs from 'node:fs'
import { promisify } from 'node:util'
import { PAGE_BYTES } from '../../cache/entry.ts'
import type { Exclusion } from '../../cache/grants/exclusion.ts'
import type { Grant, GrantAuthority } from '../../cache/grants/grant-authority.ts'
import type { PageKeeper } from '../../cache/page-keeper.ts'
import { PAGES_MAX } from '../../layout/mapping-record.ts'
import type { Arena } from '../arena.ts'
import { type CachedInode, NO_STAMP } from '../cached-inode.ts'
import { callBytes, isNoSpace, systemError, withPath } from '../errors.ts'
import type { ExclusiveWish, Grants, HeldGrant, HolderEvents } from './grants.ts'
import { refusedError } from './refused.ts'

const readFile = promisify(fs.read)

/** A grant, and what it is of. */
interface Granted {
  readonly inode: CachedInode
  readonly grant: Grant
  readonly position: number
}

/** What is needed of the keeper of files. */
interface FileGrantsParts {
  readonly authority: GrantAuthority
  readonly exclusion: Exclusion
  readonly pages: PageKeeper
  readonly arena: Arena
  /** The inode is used once less by who writes. */
  readonly close: (inode: CachedInode) => void
  /** Where there is no space: gives back what it can. */
  readonly makeSpace: () => Promise<void>
  /** Puts bytes that were written into the cache. */
  readonly cacheWritten: (inode: CachedInode, bytes: Uint8Array, position: number) => void
}

export class FileGrants implements Grants {
  readonly #parts: FileGrantsParts

  constructor(parts: FileGrantsParts) {
    this.#parts = parts
  }

  async grant(inode: CachedInode, holder: string, wish: ExclusiveWish, events: HolderEvents): Promise<HeldGrant> {
    const { position, length, readers } = wish
    const end = position + length
    const from = Math.floor(position / PAGE_BYTES)
    const to = Math.ceil(end / PAGE_BYTES)
    if (length === 0 || end > inode.size)
      throw systemError('EINVAL', 'what is granted must lie within the file', 'exclusive', inode.path)
    // The number of the page behind the last one is a signed word of the mapping's record.
    if (to >= PAGES_MAX)
      throw systemError('EFBIG', 'what is granted must lie before byte 2^43 − 4096', 'exclusive', inode.path)
    const bytes = new Uint8Array(length)
    inode.use(true)
    const { authority, exclusion } = this.#parts
    const range = { start: from * PAGE_BYTES, end: to * PAGE_BYTES }
    let missing: Piece[] = []
    let isFull = false
    let isEnded = false
    const hold = (): void => {
      missing = this.#copyCached(inode, bytes, position)
      if (readers === 'last-published') return
      inode.exclusives.add(range)
      isFull = !exclusion.take(inode, from, to)
    }
    const letGo = (): void => {
      isEnded = true
      exclusion.giveBack(inode, from, to)
      inode.exclusives.delete(range)
      this.#parts.close(inode)
    }
    const grant = await new Promise<Grant>((resolve, reject) => {
      const takeBack = authority.request({
        file: inode.key,
        from,
        to,
        holder,
        readers,
        wait: wish.wait,
        timeoutMs: wish.timeoutMs,
        onGranted: (granted) => {
          hold()
          resolve(granted)
        },
        onRefused: (code) => {
          this.#parts.close(inode)
          reject(refusedError(code, 'exclusive', inode.path))
        },
        onRevoke: events.onRevoke,
        onEnded: letGo,
      })
      events.onWaiting(takeBack)
    })
    try {
      if (isFull) throw systemError('ENOMEM', 'the cache has no room for the entries', 'exclusive', inode.path)
      for (const piece of missing) await readPiece(inode, bytes, position, piece)
      if (isEnded) throw staleError(inode)
      const granted = { inode, grant, position }
      return {
        bytes,
        publish: (published, sync) => this.#publish(granted, published, sync),
        release: () => void authority.release(grant),
      }
    } catch (error) {
      authority.release(grant)
      throw withPath(error, inode.path)
    }
  }

  async #publish({ inode, grant, position }: Granted, given: Uint8Array, sync: boolean): Promise<void> {
    const { authority, makeSpace } = this.#parts
    // The holder may change its own while readers leave and the disk is waited for: the file and the cache are to get the same bytes, those of this moment.
    const bytes = new Uint8Array(given)
    await new Promise<void>((resolve, reject) => {
      if (!authority.beginPublish(grant, resolve)) reject(staleError(inode))
    })
    inode.use(true)
    try {
      while (inode.publishing !== undefined) await inode.publishing
      let published!: () => void
      inode.publishing = new Promise((resolve) => (published = resolve))
      try {
        await this.#write(inode, grant, bytes, position, sync).catch(async (error: unknown) => {
          if (!isNoSpace(error)) throw error
          await makeSpace()
          await this.#write(inode, grant, bytes, position, sync)
        })
      } finally {
        inode.publishing = undefined
        published()
      }
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      authority.endPublish(grant)
      this.#parts.close(inode)
    }
    authority.release(grant)
  }

  async revoke(inode: CachedInode, position: number, length: number, deadlineMs: number): Promise<number> {
    const { authority } = this.#parts
    const from = Math.floor(position / PAGE_BYTES)
    const to = Math.ceil((position + length) / PAGE_BYTES)
    const grants = authority.grantsIn({ file: inode.key, from, to })
    // In all eternity nobody would have to be asked.
    for (const grant of grants) authority.revoke(grant, Math.min(deadlineMs, Number.MAX_SAFE_INTEGER))
    return grants.length
  }

  /** Nobody is inside. All in one go, but for the wait for the disk: nobody else of this thread sees the file in between. */
  async #write(inode: CachedInode, grant: Grant, bytes: Uint8Array, position: number, sync: boolean): Promise<void> {
    const { exclusion, pages } = this.#parts
    const { mapping } = inode
    const range = { start: grant.from * PAGE_BYTES, end: grant.to * PAGE_BYTES }
    const old = readAll(inode, bytes.length, position)
    exclusion.beginPublish(mapping, grant.from, grant.to)
    inode.exclusives.add(range)
    try {
      // Whoever opens the file next finds that it is not what it was.
      inode.stamp = NO_STAMP
      try {
        writeAll(inode, bytes, position)
        if (sync) await inode.syncs.write(inode.writeFd, true)
      } catch (error) {
        putBack(inode, old, position, error)
        // A home that was found meanwhile may have the new bytes.
        inode.own?.add(range.start, range.end)
        pages.drop(mapping, grant.from, grant.to)
        throw error
      }
      exclusion.written(inode, grant.from, grant.to)
      this.#parts.cacheWritten(inode, bytes, position)
    } finally {
      inode.exclusives.delete(range)
      exclusion.endPublish(mapping)
    }
  }

  /** Copies what the file's own frames hold; the rest is to be read. */
  #copyCached(inode: CachedInode, bytes: Uint8Array, position: number): Piece[] {
    const { pages, arena } = this.#parts
    const end = position + bytes.length
    const missing: Piece[] = []
    for (let page = Math.floor(position / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
      const start = Math.max(position, page * PAGE_BYTES)
      const stop = Math.min(end, (page + 1) * PAGE_BYTES)
      const frame = pages.isCached(inode.mapping, page) ? pages.frameOf(inode.mapping, page) : undefined
      const last = missing.at(-1)
      if (frame !== undefined && frame >= 0)
        bytes.set(arena.bytes(frame).subarray(start - page * PAGE_BYTES, stop - page * PAGE_BYTES), start - position)
      // Cached and without a frame: zeros, as the bytes are.
      else if (frame === undefined)
        if (last?.stop === start) last.stop = stop
        else missing.push({ start, stop })
    }
    return missing
  }
}

/** The bytes of `count` pages from `page` on, as far as the file goes; for who is inside. */
export async function readInside(inode: CachedInode, page: number, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count * PAGE_BYTES)
  let done = 0
  for (let more = 1; more > 0 && done < bytes.length; done += more)
    more = (await readFile(inode.fd, bytes, done, callBytes(bytes.length - done), page * PAGE_BYTES + done)).bytesRead
  return bytes.subarray(0, done)
}

/** Bytes [start, stop) of the file. */
interface Piece {
  readonly start: number
  stop: number
}

async function readPiece(inode: CachedInode, bytes: Uint8Array, position: number, piece: Piece): Promise<void> {
  for (let at = piece.start; at < piece.stop; ) {
    const { bytesRead } = await readFile(inode.fd, bytes, at - position, callBytes(piece.stop - at), at)
    if (bytesRead === 0) throw systemError('EINVAL', 'the file has become shorter', 'exclusive', inode.path)
    at += bytesRead
  }
}

function readAll(inode: CachedInode, length: number, position: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length; ) {
    const count = fs.readSync(inode.fd, bytes, done, callBytes(length - done), position + done)
    if (count === 0) throw systemError('EINVAL', 'the file has become shorter', 'publish', inode.path)
    done += count
  }
  return bytes
}

function writeAll(inode: CachedInode, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const count = fs.writeSync(inode.writeFd, bytes, done, callBytes(bytes.length - done), position + done)
    if (count === 0) throw systemError('EIO', 'nothing could be written', 'publish', inode.path)
    done += count
  }
}

function putBack(inode: CachedInode, old: Uint8Array, position: number, error: unknown): void {
  try {
    writeAll(inode, old, position)
  } catch (cause) {
    const why = `it failed (${(error as Error).message}), and so did putting the old bytes back: the file may have parts of both`
    throw Object.assign(systemError('EIO', why, 'publish', inode.path), { cause })
  }
}

function staleError(inode: CachedInode): Error {
  return systemError('ESTALE', 'the grant has ended', 'publish', inode.path)
}
