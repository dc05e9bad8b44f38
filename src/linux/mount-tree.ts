/**
 * A mount of one's own that nobody else sees and through which nothing can be written.
 *
 * Why: the kernel opens the backing file of a FUSE passthrough open with the flags that the *client* gave, and checks no
 * permissions. A descriptor that is read-only is no protection, and neither is an immutable file. What does stop it
 * is the mount that the backing file was opened through.
 */
import { close, O_DIRECTORY, O_RDONLY, openat } from './file.ts'
import { cString, errnoOf, libc, type Pointer, SYS } from './native.ts'
import { AT_EMPTY_PATH } from './statx.ts'

const openTreeCall = libc<[number: number, dirFd: number, path: Pointer, flags: number]>('syscall', 'long', [
  'long',
  'int',
  'void*',
  'uint',
])
const mountSetattrCall = libc<
  [number: number, dirFd: number, path: Pointer, flags: number, attributes: Pointer, size: number]
>('syscall', 'long', ['long', 'int', 'void*', 'uint', 'void*', 'size_t'])

const OPEN_TREE_CLONE = 1
const OPEN_TREE_CLOEXEC = 0o2000000
const MOUNT_ATTR_RDONLY = 1n
const MOUNT_ATTR_NOSUID = 2n
const MOUNT_ATTR_NODEV = 4n
const MS_PRIVATE = 1n << 18n

const here = cString('')

/**
 * Clones the mount that `dirFd` (O_PATH will do) is in, what is mounted below it left out, makes the clone read-only and
 * attaches it nowhere. A descriptor of the directory in the new mount, which lives as long as any descriptor
 * opened through it; or -errno: EPERM without CAP_SYS_ADMIN, ENOSYS before Linux 5.12, EINVAL where mounts may not be cloned.
 */
export function openReadOnlyTree(dirFd: number): number {
  return openTree(dirFd, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
}

/** As {@link openReadOnlyTree}, but what the mount allows to be written can be written. */
export function openWritableTree(dirFd: number): number {
  return openTree(dirFd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
}

function openTree(dirFd: number, attributesSet: bigint): number {
  const treeFd = errnoOf(openTreeCall(SYS.open_tree, dirFd, here, AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC))
  if (treeFd < 0) return treeFd
  // attr_set, attr_clr, propagation, userns_fd
  const attributes = BigUint64Array.of(attributesSet, 0n, MS_PRIVATE, 0n)
  const error = errnoOf(
    mountSetattrCall(SYS.mount_setattr, treeFd, here, AT_EMPTY_PATH, attributes, attributes.byteLength),
  )
  if (error < 0) {
    close(treeFd)
    return error
  }
  // open_by_handle_at wants a descriptor that was opened for reading, which this is not.
  const directoryFd = openat(treeFd, cString('.'), O_RDONLY | O_DIRECTORY)
  close(treeFd)
  return directoryFd
}
