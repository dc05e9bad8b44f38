/**
 * Reads a file's extents from the kernel, range by range, in batches.
 *
 * One answer of the kernel is no snapshot: the file system looks up extent after extent, and a long file takes several
 * requests. Who concludes anything from a list must read again and compare.
 */
import { ERRNO } from '../linux/errors.ts'
import { FIEMAP_EXTENT_LAST, FiemapBuffer } from '../linux/fiemap.ts'
import type { ExtentList } from './extents.ts'

/** For the synchronous form: it finishes before anybody else on this thread can want the buffer. */
const buffer = new FiemapBuffer()
/** For the asynchronous form: as many as were ever in use at once. */
const spareBuffers: FiemapBuffer[] = []

/**
 * Replaces the content of `out` by the extents of [start, start + length) of what `fd` is open on (for reading; O_PATH
 * will not do), clipped to that range and merged. Dirty pages are written first, unless `sync` is false (see FiemapBuffer).
 *
 * Returns the number of extents or -errno: EOPNOTSUPP where the file system does not tell, E2BIG with more than
 * `limit` extents (before merging the batch; `out` then holds the first ones).
 * Context: any thread, which it blocks until writeback is done. Allocates only when `out` has to grow.
 */
export function readExtents(
  fd: number,
  start: number,
  length: number,
  out: ExtentList,
  limit: number = Number.POSITIVE_INFINITY,
  sync = true,
): number {
  out.clear()
  const end = start + length
  let next = start
  while (next < end) {
    const mapped = buffer.map(fd, next, end - next, sync)
    if (mapped < 0) return mapped
    next = take(buffer, mapped, next, end, out)
    if (next < 0) return next
    if (out.count > limit) return -ERRNO.E2BIG
  }
  return out.count
}

/** As {@link readExtents}, on the libuv pool, one job a batch. `fd` must stay open until the promise settles. */
export async function readExtentsAsync(
  fd: number,
  start: number,
  length: number,
  out: ExtentList,
  limit: number = Number.POSITIVE_INFINITY,
): Promise<number> {
  out.clear()
  const end = start + length
  const own = spareBuffers.pop() ?? new FiemapBuffer()
  try {
    let next = start
    while (next < end) {
      const mapped = await own.mapAsync(fd, next, end - next)
      if (mapped < 0) return mapped
      next = take(own, mapped, next, end, out)
      if (next < 0) return next
      if (out.count > limit) return -ERRNO.E2BIG
    }
    return out.count
  } finally {
    spareBuffers.push(own)
  }
}

/** Appends an answer to `out`; returns where to ask next, `end` when there is no more, -EIO if the answer leads nowhere. */
function take(answer: FiemapBuffer, mapped: number, start: number, end: number, out: ExtentList): number {
  let next = start
  for (let i = 0; i < mapped; i++) {
    const logical = answer.logical(i)
    const length = answer.extentLength(i)
    const flags = answer.flags(i)
    // A file that changes between batches may answer with an extent that reaches back before what we have: clip it.
    out.appendClipped(logical, answer.physical(i), length, flags, next, end)
    next = Math.max(next, logical + length)
    if (flags & FIEMAP_EXTENT_LAST) return end
  }
  if (mapped < answer.extentsMax) return end
  return next > start ? next : -ERRNO.EIO
}
