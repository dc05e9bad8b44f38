/** mount(2) and umount2(2). Throw SystemErrors. */
import { check, cString, errnoOf, libc, type Pointer } from './native.ts'

export const MS_RDONLY = 1
export const MS_NOSUID = 2
export const MS_NODEV = 4
export const MS_NOEXEC = 8
export const MNT_FORCE = 1
export const MNT_DETACH = 2

const mountCall = libc<[source: Pointer, target: Pointer, type: Pointer, flags: number, data: Pointer]>(
  'mount',
  'int',
  ['void*', 'void*', 'void*', 'long', 'void*'],
)
const umountCall = libc<[target: Pointer, flags: number]>('umount2', 'int', ['void*', 'int'])

export function mount(source: string, target: string, type: string, flags: number, options: string): void {
  check(mountCall(cString(source), cString(target), cString(type), flags, cString(options)), 'mount', target)
}

/** umount2(2): 0 or -errno. */
export function umount(target: string, flags = 0): number {
  return errnoOf(umountCall(cString(target), flags))
}
