/** What a failed call of HomeStorage means, by the code that the error carries. */

const NO_SPACE = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'ENOMEM'])
const NO_CLONE = new Set([
  'EINVAL',
  'EOPNOTSUPP',
  'ENOTSUP',
  'ENOTTY',
  'ENOSYS',
  'EXDEV',
  'EPERM',
  'EACCES',
  'EROFS',
  'ETXTBSY',
])
const NO_EXTENTS = new Set(['EOPNOTSUPP', 'ENOTSUP', 'ENOTTY', 'ENOSYS', 'EBADR'])
const GONE = new Set(['ENOENT', 'ESTALE'])

/** `ENOSPC` and the like; undefined for what is no failed call but a fault of the program. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined
  return typeof code === 'string' ? code : undefined
}

/** A resource is used up that dropping homes gives back. */
export function isNoSpace(error: unknown): boolean {
  return NO_SPACE.has(errorCode(error) ?? '')
}

/** This file can never be cloned as it is. */
export function isNoClone(error: unknown): boolean {
  return NO_CLONE.has(errorCode(error) ?? '')
}

/** Extents of this file will never be told. */
export function isNoExtents(error: unknown): boolean {
  return NO_EXTENTS.has(errorCode(error) ?? '')
}

/** More extents than were asked for. */
export function isTooMany(error: unknown): boolean {
  return errorCode(error) === 'E2BIG'
}

/** The file does not exist any more. */
export function isGone(error: unknown): boolean {
  return GONE.has(errorCode(error) ?? '')
}
