/** Descriptors that a process was given, and those that it passes on. */
import { check, errnoOf, libc, SYS } from './native.ts'

const dup2Call = libc<[from: number, to: number]>('dup2', 'int', ['int', 'int'])
const closeRangeCall = libc<[number: number, first: number, last: number, flags: number]>('syscall', 'long', [
  'long',
  'uint',
  'uint',
  'uint',
])
const CLOSE_RANGE_CLOEXEC = 4
const HIGHEST = 0xffff_ffff

/** dup2(2): from now on `to` is open on what `from` is. Throws a SystemError. */
export function redirect(to: number, from: number): void {
  check(dup2Call(from, to), 'dup2')
}

/**
 * Keeps descriptors from `first` on out of the programs that this process starts; what it was given without close-on-exec
 * would be passed on otherwise. Returns 0 or -errno: ENOSYS or EINVAL before Linux 5.11.
 */
export function keepFromPrograms(first: number): number {
  return errnoOf(closeRangeCall(SYS.close_range, first, HIGHEST, CLOSE_RANGE_CLOEXEC))
}
