/** By which system call the kernel tells, and tells truly, which pages of one open file are in memory. */
import type { CacheStat } from '../linux/cachestat.ts'
import { ERRNO } from '../linux/errors.ts'
import type { Statx } from '../linux/statx.ts'
import { PAGE_BYTES } from '../util/page.ts'

export type ResidencySource =
  /** cachestat, with mincore for the details. */
  | 'cachestat'
  /** mincore alone: the kernel has no cachestat, or it would look at another inode than the one that holds the pages. */
  | 'mincore'
  /** Nobody tells, or not us. */
  | 'unknown'

/**
 * What is to be asked about the file `fd` with `stat`, if `best` is what its file system allows. Where the answer is
 * 'cachestat', `counts` has those of the whole file.
 */
export function residencySource(fd: number, stat: Statx, best: ResidencySource, counts: CacheStat): ResidencySource {
  if (best === 'unknown') return 'unknown'
  if (best === 'cachestat') {
    // Not all that there is: a large folio has pages behind the file's end, too, which would pass for some within it.
    const error = counts.read(fd, 0, Math.max(1, Math.ceil(stat.size / PAGE_BYTES)) * PAGE_BYTES)
    if (error === 0) return 'cachestat'
    // EPERM: not the owner, and may not write it. mincore would lie to us, too.
    if (error !== -ERRNO.ENOSYS) return 'unknown'
  }
  return mayAskMincore(stat) ? 'mincore' : 'unknown'
}

/** To others than its owner and root mincore says that every page of a file is in memory. */
function mayAskMincore(stat: Statx): boolean {
  const uid = process.geteuid?.() ?? 0
  return uid === 0 || stat.uid === uid
}
