/** What the list of mounts tells a walk in advance. */
import { type MountInfo, readMountInfo } from '../linux/mountinfo.ts'
import { isRemote } from './filesystems.ts'

/** The mounts of this process; none without /proc: then nobody tells. */
export function currentMounts(): MountInfo[] {
  try {
    return readMountInfo()
  } catch {
    return []
  }
}

/** Mountpoints of automounters that nothing is mounted on: looking at one would make it mount something. */
export function automountPaths(mounts: readonly MountInfo[]): ReadonlySet<string> {
  // Of several at one place the last hides the others.
  const types = new Map(mounts.map(({ mountpoint, type }) => [mountpoint, type]))
  return new Set([...types].filter(([, type]) => type === 'autofs').map(([mountpoint]) => mountpoint))
}

/** Mountpoints at which a file may be mounted, that is, be seen once more. None whose server, if it is dead, would hang who looks. */
export function partialMountpoints(mounts: readonly MountInfo[]): string[] {
  const remote = mounts.filter(({ type }) => isRemote(type)).map(({ mountpoint }) => `${mountpoint}/`)
  return mounts
    .filter(({ root, type }) => root !== '/' && !isRemote(type))
    .map(({ mountpoint }) => mountpoint)
    .filter((mountpoint) => !remote.some((above) => mountpoint.startsWith(above)))
}
