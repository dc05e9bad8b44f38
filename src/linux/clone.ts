/** Sharing of blocks between files: FICLONE, FICLONERANGE, FIDEDUPERANGE; and unnamed files to clone into. */
import { O_CLOEXEC, O_RDWR, O_TMPFILE, openat } from './file.ts'
import { ioctl, ioctlInteger, ioctlIntegerCall, ioctlRequest } from './ioctl.ts'
import { callAsync, cString, libc, type Pointer } from './native.ts'

const FICLONE = ioctlRequest('write', 0x94, 9, 4)
const FICLONERANGE = ioctlRequest('write', 0x94, 13, 32)
const FIDEDUPERANGE = ioctlRequest('readWrite', 0x94, 54, 24)

const FILE_DEDUPE_RANGE_DIFFERS = 1

const openatCall = libc<[dirFd: number, path: Pointer, flags: number, mode: number]>('openat', 'int', [
  'int',
  'void*',
  'int',
  'uint',
])
const here = cString('.')

/**
 * A new file without a name in the directory `dirFd` (O_PATH will do), open for reading and writing; it goes when the last
 * descriptor goes. A descriptor or -errno: EOPNOTSUPP where the file system has no O_TMPFILE, EROFS, ENOSPC, EDQUOT.
 */
export function openUnnamed(dirFd: number, mode: number): number {
  return openat(dirFd, here, O_TMPFILE | O_RDWR, mode)
}

/** As {@link openUnnamed}, on the libuv pool: it waits for the file system's journal. Rejects with a SystemError. */
export function openUnnamedAsync(dirFd: number, mode: number): Promise<number> {
  return callAsync(openatCall, 'open O_TMPFILE', undefined, dirFd, here, O_TMPFILE | O_RDWR | O_CLOEXEC, mode)
}

/**
 * Makes `targetFd`'s file share all blocks of `sourceFd`'s: 0 or -errno. EXDEV: another file system; EOPNOTSUPP: it cannot;
 * EINVAL: these two files cannot (btrfs: one of them is nodatacow); ETXTBSY: one is a swap file; ENOSPC, EDQUOT, EROFS, EPERM.
 * Blocks: some 10 µs an extent, and writers of the source wait meanwhile.
 */
export function cloneFile(targetFd: number, sourceFd: number): number {
  return ioctlInteger(targetFd, FICLONE, sourceFd)
}

/** As {@link cloneFile}, on the libuv pool; rejects with a SystemError. Both descriptors must stay open until it settles. */
export async function cloneFileAsync(targetFd: number, sourceFd: number): Promise<void> {
  await callAsync(ioctlIntegerCall, 'ioctl FICLONE', undefined, targetFd, FICLONE, sourceFd)
}

/** Clones a range, in bytes and whole blocks; a length of 0 means up to the end of the source. 0 or -errno. */
export function cloneRange(
  targetFd: number,
  targetOffset: number,
  sourceFd: number,
  sourceOffset: number,
  length: number,
): number {
  return ioctl(
    targetFd,
    FICLONERANGE,
    BigUint64Array.of(BigInt(sourceFd), BigInt(sourceOffset), BigInt(length), BigInt(targetOffset)),
  )
}

/**
 * Asks the kernel to compare a range of two files and, if it is equal, to let the target share the source's blocks.
 * Changes neither ctime, mtime nor size of the target. Returns bytes shared (0: they differ) or -errno.
 */
export function dedupeRange(
  targetFd: number,
  targetOffset: number,
  sourceFd: number,
  sourceOffset: number,
  length: number,
): number {
  // source offset, length, count | target descriptor, offset, bytes deduped, status
  const range = BigUint64Array.of(
    BigInt(sourceOffset),
    BigInt(length),
    1n,
    BigInt(targetFd),
    BigInt(targetOffset),
    0n,
    0n,
  )
  const result = ioctl(sourceFd, FIDEDUPERANGE, range)
  if (result < 0) return result
  const status = new Int32Array(range.buffer)[12]!
  if (status < 0) return status
  return status === FILE_DEDUPE_RANGE_DIFFERS ? 0 : Number(range[5])
}
