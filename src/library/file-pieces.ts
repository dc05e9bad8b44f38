/** From pages of a file to pages of what they are loaded from: the file itself, or homes. Context: the keeper's thread. */
import { PAGE_BYTES } from '../cache/entry.ts'
import { PieceWalk } from '../cache/resolve.ts'
import { OWN } from '../cache/run-map.ts'
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
