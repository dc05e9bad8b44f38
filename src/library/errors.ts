/** Errors as Node.js makes them: `code`, `syscall`, `path`; and how not to meet one. */

/** How many of `bytes` to ask of one call of Node.js: it takes lengths for 32-bit integers. */
export function callBytes(bytes: number): number {
  return Math.min(bytes, 2 ** 30)
}

/** An error of a call by descriptor, or of another thread, with the name of the file. Others, as those of an argument, have nothing to do with it. */
export function withPath<T>(error: T, path: string): T {
  if (!(error instanceof Error)) return error
  const { code, path: known } = error as NodeJS.ErrnoException
  if (known === undefined && ERRNO_NAME.test(code ?? '')) Object.assign(error, { path })
  return error
}

const ERRNO_NAME = /^E[A-Z\d]+$/

/** An error that names a file by the path `known`, as one who opened it by `path` is to get it. Others may get the same error, so that stays as it is. */
export function asOpened(error: unknown, known: string, path: string): unknown {
  if (path === known || !(error instanceof Error) || (error as NodeJS.ErrnoException).path !== known) return error
  const message = error.message.replace(`'${known}'`, () => `'${path}'`)
  return Object.assign(new Error(message, { cause: error }), error, { path })
}

export function systemError(code: string, why: string, syscall: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${why}, ${syscall} '${path}'`), { code, syscall, path })
}

/** The device is full, or a quota is. */
export function isNoSpace(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/** Of an attached thread. */
export function goneError(): Error {
  return Object.assign(new Error('ECONNRESET: the thread that made the cache has closed it, or has ended'), {
    code: 'ECONNRESET',
  })
}

/** Of what is opened and is no regular file. */
export function notAFile(path: string, isDirectory: boolean): NodeJS.ErrnoException {
  return isDirectory
    ? systemError('EISDIR', 'illegal operation on a directory', 'open', path)
    : systemError('EINVAL', 'not a regular file', 'open', path)
}

export function notSupported(method: string, where: string): Error {
  return Object.assign(new Error(`${method} does not work ${where}`), { code: 'ERR_METHOD_NOT_SUPPORTED' })
}
