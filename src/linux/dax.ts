/** Files that lie in memory which the processor addresses itself (persistent memory): the kernel reads and writes them there, without its page cache. */
import { throwIfNegative } from './errors.ts'
import { isKernelOlder } from './kernel-version.ts'
import { Statx } from './statx.ts'

const stat = new Statx()

/** Whether files that share storage keep DAX when their inodes are loaded anew: XFS from Linux 6.2 on. Before, a clone that is made costs its source DAX. */
export function clonesKeepDax(): boolean {
  return !isKernelOlder(6, 2)
}

/**
 * Whether what `fd` (O_PATH will do) is open on is accessed directly now: STATX_ATTR_DAX, which the kernel sets from the inode's own state (S_DAX). The mount option does
 * not tell it: with `dax=inode` each file has a flag of its own, which is heeded when its inode is next loaded, and where the device cannot do DAX the kernel mounts without it
 * and says so in its log only. Throws a SystemError where `fd` is none. Kernels before 5.8 do not tell: false.
 */
export function isDax(fd: number): boolean {
  throwIfNegative(stat.ofFd(fd, 0), 'statx')
  return stat.isDax
}
