/** Whether a file is being changed just now: then its stamp does not tell what it holds. */
import { isCtimeOver } from '../util/ctime.ts'
import type { FileStamp } from './cached-inode.ts'
import type { Native } from './native.ts'

/** Where open writers cannot be seen: no write takes longer. */
const SETTLED_MS = 5000

/** Whether nobody is changing the file that `fd` is open on: what changes it from now on gives it another stamp. */
export function isFileAtRest(
  native: Pick<Native, 'isOpenForWriting'> | undefined,
  fd: number,
  stamp: FileStamp,
  nowMs = Date.now(),
): boolean {
  const isBeingWritten = native?.isOpenForWriting(fd)
  if (isBeingWritten === true) return false
  const ctimeMs = Number(stamp.ctimeNs) / 1e6
  if (isBeingWritten === undefined) return nowMs - ctimeMs > SETTLED_MS
  return isCtimeOver(ctimeMs, Number(stamp.ctimeNs % 1_000_000_000n), nowMs)
}
