/** Whether a file is being changed just now: then its stamp does not tell what it holds. */
import type { FileStamp } from './cached-inode.ts'
import type { Native } from './native.ts'

/** Two changes within so many milliseconds may get the same ctime (kernels before 6.13). */
const GRANULARITY_MS = 20
/** Where open writers cannot be seen: no write takes longer. */
const SETTLED_MS = 5000

/** Whether nobody is changing the file that `fd` is open on: what changes it from now on gives it another stamp. */
export function isFileAtRest(native: Native | undefined, fd: number, stamp: FileStamp): boolean {
  const isBeingWritten = native?.isOpenForWriting(fd)
  const ageMs = Date.now() - Number(stamp.ctimeNs / 1_000_000n)
  return isBeingWritten !== true && ageMs > (isBeingWritten === false ? GRANULARITY_MS : SETTLED_MS)
}
