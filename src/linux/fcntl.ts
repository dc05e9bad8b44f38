/** fcntl(2) with one integer argument or one pointer argument: what the kernel returns, or -errno. Any thread; nothing is allocated. */
import { errnoOf, libc, type Pointer } from './native.ts'

const integerCall = libc<[fd: number, command: number, argument: number]>('fcntl', 'int', ['int', 'int', 'long'])
const pointerCall = libc<[fd: number, command: number, argument: Pointer]>('fcntl', 'int', ['int', 'int', 'void*'])

export function fcntl(fd: number, command: number, argument: number): number {
  return errnoOf(integerCall(fd, command, argument))
}

export function fcntlPointer(fd: number, command: number, argument: Pointer): number {
  return errnoOf(pointerCall(fd, command, argument))
}
