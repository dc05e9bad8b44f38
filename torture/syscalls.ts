/** System calls that only the torture test makes. All return what the kernel does, or -errno. */
import { cString, errnoOf, libc, type NativeFunction, type Pointer } from '../src/linux/native.ts'

type CType = 'int' | 'uint' | 'long' | 'int64' | 'size_t' | 'void*'
const NUMBER = { int: 'int', uint: 'uint', long: 'long', i64: 'int64', size: 'size_t', ptr: 'void*' } as const
type Short = keyof typeof NUMBER
type Value = number | bigint | Pointer

/** Declares a function by the shorthand of its types; a string stands for a pointer to its bytes. */
function call(
  name: string,
  result: 'int' | 'long' | 'i64',
  ...types: Short[]
): (...args: (Value | string)[]) => number {
  const native = libc<Value[], number | bigint>(
    name,
    NUMBER[result],
    types.map((type): CType => NUMBER[type]),
  ) as NativeFunction<Value[], number | bigint>
  return (...args) =>
    errnoOf(Number(native(...args.map((argument) => (typeof argument === 'string' ? cString(argument) : argument)))))
}

export const sys = {
  open: call('open', 'int', 'ptr', 'int', 'uint'),
  close: call('close', 'int', 'int'),
  read: call('read', 'long', 'int', 'ptr', 'size'),
  write: call('write', 'long', 'int', 'ptr', 'size'),
  pread: call('pread', 'long', 'int', 'ptr', 'size', 'i64'),
  pwrite: call('pwrite', 'long', 'int', 'ptr', 'size', 'i64'),
  lseek: call('lseek', 'i64', 'int', 'i64', 'int'),
  ftruncate: call('ftruncate', 'int', 'int', 'i64'),
  truncate: call('truncate', 'int', 'ptr', 'i64'),
  fallocate: call('fallocate', 'int', 'int', 'int', 'i64', 'i64'),
  fsync: call('fsync', 'int', 'int'),
  fdatasync: call('fdatasync', 'int', 'int'),
  syncfs: call('syncfs', 'int', 'int'),
  renameat2: call('renameat2', 'int', 'int', 'ptr', 'int', 'ptr', 'uint'),
  linkat: call('linkat', 'int', 'int', 'ptr', 'int', 'ptr', 'int'),
  symlink: call('symlink', 'int', 'ptr', 'ptr'),
  mknod: call('mknod', 'int', 'ptr', 'uint', 'size'),
  mkdir: call('mkdir', 'int', 'ptr', 'uint'),
  unlink: call('unlink', 'int', 'ptr'),
  rmdir: call('rmdir', 'int', 'ptr'),
  chmod: call('chmod', 'int', 'ptr', 'uint'),
  fchmod: call('fchmod', 'int', 'int', 'uint'),
  lchown: call('lchown', 'int', 'ptr', 'int', 'int'),
  fchown: call('fchown', 'int', 'int', 'int', 'int'),
  utimensat: call('utimensat', 'int', 'int', 'ptr', 'ptr', 'int'),
  futimens: call('futimens', 'int', 'int', 'ptr'),
  access: call('access', 'int', 'ptr', 'int'),
  readlink: call('readlink', 'long', 'ptr', 'ptr', 'size'),
  setxattr: call('lsetxattr', 'int', 'ptr', 'ptr', 'ptr', 'size', 'int'),
  getxattr: call('lgetxattr', 'long', 'ptr', 'ptr', 'ptr', 'size'),
  listxattr: call('llistxattr', 'long', 'ptr', 'ptr', 'size'),
  removexattr: call('lremovexattr', 'int', 'ptr', 'ptr'),
  copyFileRange: call('copy_file_range', 'long', 'int', 'ptr', 'int', 'ptr', 'size', 'uint'),
  sendfile: call('sendfile', 'long', 'int', 'int', 'ptr', 'size'),
  flock: call('flock', 'int', 'int', 'int'),
  fcntl: call('fcntl', 'int', 'int', 'int', 'ptr'),
  mmap: call('mmap', 'i64', 'size', 'size', 'int', 'int', 'int', 'i64'),
  munmap: call('munmap', 'int', 'size', 'size'),
  msync: call('msync', 'int', 'size', 'size', 'int'),
  statx: call('statx', 'int', 'int', 'ptr', 'int', 'uint', 'ptr'),
  getdents: call('getdents64', 'long', 'int', 'ptr', 'size'),
  prctl: call('prctl', 'int', 'int', 'size'),
  readMemory: call('process_vm_readv', 'long', 'int', 'ptr', 'size', 'ptr', 'size', 'size'),
  writeMemory: call('process_vm_writev', 'long', 'int', 'ptr', 'size', 'ptr', 'size', 'size'),
}

/** One struct iovec. */
export const iovec = (address: bigint, length: number) => BigUint64Array.of(address, BigInt(length))
