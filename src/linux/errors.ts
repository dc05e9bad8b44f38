import os from 'node:os'
import { getSystemErrorMap } from 'node:util'

const nameOfErrno = new Map<number, string>(Object.entries(os.constants.errno).map(([name, number]) => [number, name]))
nameOfErrno.set(os.constants.errno.EAGAIN, 'EAGAIN')

/** Errno numbers by name, those of Node.js plus the ones that it does not list. */
export const ERRNO = {
  ...os.constants.errno,
  ENOTBLK: 15,
  ENODATA: 61,
  ESHUTDOWN: 108,
  ESTALE: 116,
  EUCLEAN: 117,
} as const

nameOfErrno.set(ERRNO.ENODATA, 'ENODATA')
nameOfErrno.set(ERRNO.ESTALE, 'ESTALE')
nameOfErrno.set(ERRNO.EUCLEAN, 'EUCLEAN')

/** The symbolic name of an errno, e.g. `ENOENT`. */
export function errnoName(errno: number): string {
  return nameOfErrno.get(errno) ?? `errno ${errno}`
}

/** What the error named `code` (ENOENT) means; the name itself where the system does not say. */
export function describeError(code: string): string {
  for (const [name, message] of getSystemErrorMap().values()) if (name === code) return message
  return code
}

/** A failed system call, in the shape of Node's own errors: `code`, `errno` (negative), `syscall`, `path`. */
export class SystemError extends Error {
  /** The errno's name, e.g. `ENOENT`. */
  readonly code: string
  /** The errno, negative as in Node.js. */
  readonly errno: number
  /** The system call that failed. */
  readonly syscall: string
  /** The file, where there is one. */
  readonly path?: string

  /** `errno` is positive, as C has it. */
  constructor(errno: number, syscall: string, path?: string) {
    const code = errnoName(errno)
    super(`${code}: ${syscall}${path === undefined ? '' : ` '${path}'`}`)
    this.name = 'SystemError'
    this.code = code
    this.errno = -errno
    this.syscall = syscall
    if (path !== undefined) this.path = path
  }
}

/** A result of "value or -errno": the value, or a thrown {@link SystemError} that names the call. */
export function throwIfNegative(result: number, syscall: string): number {
  if (result < 0) throw new SystemError(-result, syscall)
  return result
}
