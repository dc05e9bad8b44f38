/**
 * mincore(2) over a short-lived mapping: which pages of a file the page cache holds. The mapping is never touched, so
 * nothing is read and nothing is marked as used.
 *
 * The kernel keeps the answer from those who neither own the file nor may write it: for them every page looks resident.
 */

import { PAGE_BYTES } from '../util/page.ts'
import { mapFile, PROT, unmapFile } from './mapping.ts'
import { errnoOf, libc, type Pointer } from './native.ts'

const mincoreCall = libc<[address: number, length: number, vector: Pointer]>('mincore', 'int', [
  'void*',
  'size_t',
  'void*',
])

/** Bytes of a file mapped at once: bounds the time for which the address space is locked. */
const CHUNK_BYTES = 2 ** 30

/**
 * Writes one byte a page into `resident`, 1 where the page is cached, for the pages of [offset, offset + length) of what
 * `fd` is open on for reading; `offset` in bytes, a multiple of 4096. Returns how many pages are cached, or -errno
 * (ENODEV: cannot be mapped; EINVAL: `offset`). Pages after the end of the file count as not cached.
 * Any thread; holds the process's address space lock for the time of a chunk. A RangeError if `resident` is too short.
 */
export function residentPages(fd: number, offset: number, length: number, resident: Uint8Array): number {
  const pages = Math.ceil(length / PAGE_BYTES)
  if (resident.length < pages) throw new RangeError(`${pages} pages do not fit into ${resident.length} bytes`)
  let count = 0
  for (let done = 0; done < length; done += CHUNK_BYTES) {
    const bytes = Math.min(CHUNK_BYTES, length - done)
    const first = done / PAGE_BYTES
    const chunk = resident.subarray(first, first + Math.ceil(bytes / PAGE_BYTES))
    const address = errnoOf(mapFile(fd, offset + done, bytes, PROT.NONE))
    if (address < 0) return address
    const result = errnoOf(mincoreCall(address, bytes, chunk))
    unmapFile(address, bytes)
    if (result < 0) return result
    for (let i = 0; i < chunk.length; i++) {
      // The other bits of a byte are reserved.
      const bit = chunk[i]! & 1
      chunk[i] = bit
      count += bit
    }
  }
  return count
}
