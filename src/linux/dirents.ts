/**
 * getdents64(2) by descriptor and position.
 *
 * ```
 * struct linux_dirent64   ino u64 @0 · off s64 @8 · reclen u16 @16 · type u8 @18 · name… NUL @19
 * ```
 */
import { errnoOf, libc, type Pointer } from './native.ts'

const getdentsCall = libc<[fd: number, buffer: Pointer, size: number]>('getdents64', 'long', ['int', 'void*', 'size_t'])

/** Offset of the name in a record. */
export const DIRENT_NAME = 19

/** Reads records into `buffer`: bytes (0 at the end) or -errno. */
export function getdents(fd: number, buffer: Pointer, size: number): number {
  return errnoOf(getdentsCall(fd, buffer, size))
}
