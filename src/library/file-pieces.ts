/** From pages of a file to pages of what they are loaded from: the file itself, or homes; and from bytes that were written to pages. Context: the keeper's thread. */
import { PAGE_BYTES } from '../cache/entry.ts'
import { NO_FRAME } from '../cache/frames.ts'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { PieceWalk } from '../cache/resolve.ts'
import { OWN } from '../cache/run-map.ts'
import type { Arena } from './arena.ts'
import type { CachedInode } from './cached-inode.ts'
import type { HomeSources } from './home-sources.ts'
import type { PageSource } from './page-source.ts'

interface Piece {
  readonly source: PageSource
  readonly page: number
  readonly count: number
  /** How many pages lie before. */
  readonly done: number
}

const walk = new PieceWalk()

export function piecesOf(inode: CachedInode, homes: HomeSources | undefined, page: number, count: number): Piece[] {
  const { map, own } = inode
  if (map === undefined) return [{ source: inode, page, count, done: 0 }]
  const pieces: Piece[] = []
  walk.start(map, page * PAGE_BYTES, Math.min(count * PAGE_BYTES, Math.max(0, inode.size - page * PAGE_BYTES)), own)
  while (walk.next())
    pieces.push({
      source: walk.home === OWN ? inode : homes!.get(walk.home),
      page: walk.offset / PAGE_BYTES,
      count: Math.ceil(walk.length / PAGE_BYTES),
      done: walk.done / PAGE_BYTES,
    })
  return pieces
}

/** A write of more is not cached as it passes. */
const CACHED_WRITE_BYTES_MAX = 1 << 20

/** Caches the whole pages of what was written to the file, on the node `near`. `bytes`: those that the file got. */
export function cacheWritten(
  pages: PageKeeper,
  arena: Arena,
  inode: CachedInode,
  bytes: Uint8Array,
  position: number,
  near: number,
): void {
  if (bytes.length > CACHED_WRITE_BYTES_MAX) return
  // Another thread may have changed them since the file got them: then the file is asked.
  if (bytes.buffer instanceof SharedArrayBuffer) return
  const end = position + bytes.length
  const mapping = pages.mappings.on(inode.mapping, near)
  for (let page = Math.ceil(position / PAGE_BYTES); (page + 1) * PAGE_BYTES <= end; page++) {
    if (pages.isCached(mapping, page) || pages.isLoading(mapping, page)) continue
    // Another write to it is under way: which of them is the last nobody knows.
    if (!inode.isAtRest(page, 1)) continue
    const frame = pages.reserve(mapping, page, near)
    if (frame === NO_FRAME) return
    const at = page * PAGE_BYTES - position
    arena.bytes(frame).set(bytes.subarray(at, at + PAGE_BYTES))
    pages.publish(frame, true)
  }
}
