/**
 * Extended attributes of what an O_PATH descriptor is open on. The f* calls refuse O_PATH, and getxattrat(2) is
 * newer than the kernels that we support, so the file is named by its link in /proc, which leads to the
 * object itself, also when that is a symlink or a device.
 */
import { cString, errnoOf, libc, type Pointer } from './native.ts'

const getxattrCall = libc<[path: Pointer, name: Pointer, value: Pointer, size: number]>('getxattr', 'long', [
  'void*',
  'void*',
  'void*',
  'size_t',
])
const listxattrCall = libc<[path: Pointer, list: Pointer, size: number]>('listxattr', 'long', [
  'void*',
  'void*',
  'size_t',
])
const setxattrCall = libc<[path: Pointer, name: Pointer, value: Pointer, size: number, flags: number]>(
  'setxattr',
  'int',
  ['void*', 'void*', 'void*', 'size_t', 'int'],
)
const removexattrCall = libc<[path: Pointer, name: Pointer]>('removexattr', 'int', ['void*', 'void*'])

const pathOf = (fd: number) => cString(`/proc/self/fd/${fd}`)

/** Bytes of the value, or the size that it needs where `size` is 0; or -errno. `name` is NUL-terminated. */
export function getxattr(fd: number, name: Pointer, value: Pointer, size: number): number {
  return errnoOf(getxattrCall(pathOf(fd), name, value, size))
}

/** Bytes of the list of names, or the size that it needs where `size` is 0; or -errno. */
export function listxattr(fd: number, list: Pointer, size: number): number {
  return errnoOf(listxattrCall(pathOf(fd), list, size))
}

/** 0 or -errno. `flags`: XATTR_CREATE 1, XATTR_REPLACE 2. */
export function setxattr(fd: number, name: Pointer, value: Pointer, size: number, flags: number): number {
  return errnoOf(setxattrCall(pathOf(fd), name, value, size, flags))
}

export function removexattr(fd: number, name: Pointer): number {
  return errnoOf(removexattrCall(pathOf(fd), name))
}
