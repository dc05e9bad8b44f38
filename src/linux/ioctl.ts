/** ioctl(2) with one pointer argument or one integer argument, and the numbers of requests as the kernel composes them. */
import { errnoOf, libc, type Pointer } from './native.ts'

/** ioctl(fd, request, pointer). Returns what the kernel does, or -1 with errno; for `callAsync` and `.async`. */
export const ioctlPointerCall = libc<[fd: number, request: number, argument: Pointer]>('ioctl', 'int', [
  'int',
  'size_t',
  'void*',
])

/** ioctl(fd, request, integer): for requests whose argument is a descriptor or a flag word. */
export const ioctlIntegerCall = libc<[fd: number, request: number, argument: number]>('ioctl', 'int', [
  'int',
  'size_t',
  'size_t',
])

/** ioctl with a pointer: the kernel's result (>= 0) or -errno. Blocks the calling thread. */
export function ioctl(fd: number, request: number, argument: Pointer): number {
  return errnoOf(ioctlPointerCall(fd, request, argument))
}

/** ioctl with an integer: the kernel's result (>= 0) or -errno. Blocks the calling thread. */
export function ioctlInteger(fd: number, request: number, argument: number): number {
  return errnoOf(ioctlIntegerCall(fd, request, argument))
}

const DIRECTION = { none: 0, write: 1, read: 2, readWrite: 3 } as const

/**
 * The number of a request: `direction:2 | size:14 | type:8 | number:8`, as include/uapi/asm-generic/ioctl.h lays it out
 * (x86-64, arm64, riscv). `size` is the size of the argument's structure in bytes.
 */
export function ioctlRequest(
  direction: keyof typeof DIRECTION,
  type: number | string,
  number: number,
  size: number,
): number {
  const typeCode = typeof type === 'string' ? type.charCodeAt(0) : type
  return ((DIRECTION[direction] << 30) | (size << 16) | (typeCode << 8) | number) >>> 0
}
