/** SEEK_DATA and SEEK_HOLE of a file that is read in pieces. */
import type { OwnPages } from '../cache/own-pages.ts'
import { PieceWalk } from '../cache/resolve.ts'
import { OWN, type RunMap } from '../cache/run-map.ts'
import { ERRNO } from '../linux/errors.ts'
import { EXACT_END, lseek, lseekExact, SEEK_HOLE } from '../linux/file.ts'

const walk = new PieceWalk()

/** What {@link seekMapped} asks. */
interface Sources {
  readonly runs: RunMap
  readonly own: OwnPages | undefined
  /** The descriptor of the file itself. */
  readonly ownFd: number
  readonly homeFd: (home: number) => number
}

/**
 * lseek(2) with SEEK_DATA or SEEK_HOLE, from `offset` on, in a file of `size` bytes: an offset, or -errno (ENXIO: behind the end, or no more data). Each piece is asked of
 * what it is read from: who copies a file by its data is to get what he would have read, also of one that has been
 * cut or overwritten since, under another nodeid. From {@link EXACT_END} on, and before the file's beginning, that is the file itself.
 */
export function seekMapped(sources: Sources, size: number, offset: number | bigint, whence: number): number | bigint {
  const { ownFd } = sources
  if (offset < 0 || offset >= EXACT_END) return lseekExact(ownFd, offset, whence)
  const start = Number(offset)
  if (start >= size) return -ERRNO.ENXIO
  const found = seekPieces(sources, Math.min(size, EXACT_END), start, whence)
  if (found !== -ERRNO.ENXIO) return found
  if (size > EXACT_END) return lseekExact(ownFd, BigInt(EXACT_END), whence)
  return whence === SEEK_HOLE ? size : found
}

/** The same up to `end`; ENXIO: there is none before it. */
function seekPieces({ runs, own, ownFd, homeFd }: Sources, end: number, offset: number, whence: number): number {
  walk.start(runs, offset, end - offset, own)
  while (walk.next()) {
    const found = lseek(walk.home === OWN ? ownFd : homeFd(walk.home), walk.offset, whence)
    const at = offset + walk.done
    // What ends within the piece is a hole from there on.
    if (found === -ERRNO.ENXIO && whence === SEEK_HOLE) return at
    if (found < 0 && found !== -ERRNO.ENXIO) return found
    if (found >= 0 && found < walk.offset + walk.length) return at + found - walk.offset
  }
  return -ERRNO.ENXIO
}
