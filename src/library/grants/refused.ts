/** Why something is not granted, as an error. */
import type { RefusalCode } from '../../cache/grants/grant-authority.ts'
import { systemError } from '../errors.ts'

const WHY: Record<RefusalCode, string> = {
  EAGAIN: 'the range is exclusively somebody’s, and this call does not wait',
  ETIMEDOUT: 'the range was exclusively somebody else’s for too long',
  EDEADLK: 'those who have the range wait, in the end, for this holder',
  ECANCELED: 'it was taken back, or its holder is gone',
  ENOTCONN: 'the mount that the cache is attached to has ended',
}

export function refusedError(code: RefusalCode, syscall: string, path: string): NodeJS.ErrnoException {
  return systemError(code, WHY[code], syscall, path)
}
