/**
 * Stats with the id of the mount that a file was reached through ({@link Statx.mountId}), on every kernel: before Linux 5.8 statx(2) does not tell it, and
 * /proc/self/fdinfo does. Whoever compares mounts uses these, for there all mounts would have one id: 0.
 */
import fs from 'node:fs'
import { ERRNO } from './errors.ts'
import { close, O_NOFOLLOW, O_PATH, openat } from './file.ts'
import type { Pointer } from './native.ts'
import { Statx } from './statx.ts'

const mountStat = new Statx()

/** As {@link Statx.ofFd}. ENOSYS where nobody tells the mount. */
export function statFd(stat: Statx, fd: number): number {
  const error = stat.ofFd(fd)
  if (error < 0 || stat.mountId !== 0) return error
  const mountId = mountIdOf(fd)
  if (mountId === 0) return -ERRNO.ENOSYS
  stat.setMountId(mountId)
  return 0
}

/** As {@link Statx.at}. ENOSYS where nobody tells the mount. */
export function statAt(stat: Statx, dirFd: number, name: Pointer): number {
  const error = stat.at(dirFd, name)
  if (error < 0 || stat.mountId !== 0) return error
  // One descriptor for both: by the next look the name may be another file's.
  const fd = openat(dirFd, name, O_PATH | O_NOFOLLOW)
  if (fd < 0) return fd
  try {
    return statFd(stat, fd)
  } finally {
    close(fd)
  }
}

/**
 * The mount that `fd` was opened through, by an id that no other one gets before the system starts anew: equal ids, the same file system, mounted all the time between. ({@link Statx.mountId} is given to the next
 * mount once it is free.) 0 where that is not told: before Linux 6.8.
 */
export function uniqueMountId(fd: number): number {
  return mountStat.ofMount(fd) < 0 ? 0 : mountStat.uniqueMountId
}

/** The mount that `fd` was opened through, as {@link Statx.mountId}, of O_PATH, too, and nothing is asked of its file system. 0 where it is not told. */
export function mountIdOf(fd: number): number {
  try {
    return Number(/^mnt_id:\s*(\d+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
