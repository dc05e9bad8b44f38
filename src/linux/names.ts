/** Calls that change names in a directory. Names are NUL-terminated bytes; all return 0 or -errno. */
import { cString, errnoOf, libc, type Pointer } from './native.ts'
import { AT_FDCWD } from './statx.ts'

const AT_SYMLINK_FOLLOW = 0x400
const AT_REMOVEDIR = 0x200

const mkdiratCall = libc<[dirFd: number, name: Pointer, mode: number]>('mkdirat', 'int', ['int', 'void*', 'uint'])
const mknodatCall = libc<[dirFd: number, name: Pointer, mode: number, device: number]>('mknodat', 'int', [
  'int',
  'void*',
  'uint',
  'uint64',
])
const symlinkatCall = libc<[target: Pointer, dirFd: number, name: Pointer]>('symlinkat', 'int', [
  'void*',
  'int',
  'void*',
])
const linkatCall = libc<[oldDirFd: number, oldName: Pointer, dirFd: number, name: Pointer, flags: number]>(
  'linkat',
  'int',
  ['int', 'void*', 'int', 'void*', 'int'],
)
const unlinkatCall = libc<[dirFd: number, name: Pointer, flags: number]>('unlinkat', 'int', ['int', 'void*', 'int'])
const renameat2Call = libc<[oldDirFd: number, oldName: Pointer, dirFd: number, name: Pointer, flags: number]>(
  'renameat2',
  'int',
  ['int', 'void*', 'int', 'void*', 'uint'],
)

export function mkdirat(dirFd: number, name: Pointer, mode: number): number {
  return errnoOf(mkdiratCall(dirFd, name, mode))
}

/** `device`: as the kernel encodes it in 32 bits, which the C library's encoding agrees with as far as it goes. */
export function mknodat(dirFd: number, name: Pointer, mode: number, device: number): number {
  return errnoOf(mknodatCall(dirFd, name, mode, device))
}

export function symlinkat(target: Pointer, dirFd: number, name: Pointer): number {
  return errnoOf(symlinkatCall(target, dirFd, name))
}

/**
 * Gives what `fd` (O_PATH will do) is open on another name. By its link in /proc, which needs no privilege and
 * leads to unnamed files and to symlinks themselves too.
 */
export function linkFd(fd: number, dirFd: number, name: Pointer): number {
  return errnoOf(linkatCall(AT_FDCWD, cString(`/proc/self/fd/${fd}`), dirFd, name, AT_SYMLINK_FOLLOW))
}

export function unlinkat(dirFd: number, name: Pointer): number {
  return errnoOf(unlinkatCall(dirFd, name, 0))
}

export function rmdirat(dirFd: number, name: Pointer): number {
  return errnoOf(unlinkatCall(dirFd, name, AT_REMOVEDIR))
}

/** `flags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4. */
export function renameat2(oldDirFd: number, oldName: Pointer, dirFd: number, name: Pointer, flags: number): number {
  return errnoOf(renameat2Call(oldDirFd, oldName, dirFd, name, flags))
}
