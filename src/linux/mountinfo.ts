/** /proc/self/mountinfo: the mounts that this process sees, and the superblocks behind them. */
import fs from 'node:fs'
import { close, O_DIRECTORY, O_NOFOLLOW, O_PATH, open } from './file.ts'
import { mountIdOf, uniqueMountId } from './mount-id.ts'

export interface MountInfo {
  /** As statx(2) tells it (stx_mnt_id). Once the mount is gone, it is soon another's. */
  readonly id: number
  readonly parentId: number
  /** `major:minor` of the superblock. On btrfs no file's st_dev need be equal to it. */
  readonly device: string
  /** What of the file system is shown at the mountpoint. */
  readonly root: string
  readonly mountpoint: string
  /** Options of this mount: `ro`, `nosuid`, … */
  readonly options: readonly string[]
  /** Name of the kind of file system: `xfs`, `fuse.sshfs`. */
  readonly type: string
  readonly source: string
  /** Options of the superblock: `ro` here means that nobody can write, through whatever mount. */
  readonly superOptions: readonly string[]
}

/** All mounts of this process's namespace, in the order in which they hide one another. */
export function readMountInfo(): MountInfo[] {
  return parseMountInfo(fs.readFileSync('/proc/self/mountinfo', 'utf8'))
}

/** What tells a mount that a path leads to. */
export interface MountIds {
  /** See {@link MountInfo.id}; 0 where that is not told. */
  readonly id: number
  /** See {@link uniqueMountId}; 0, too, of a FUSE mount that is closed to this user. */
  readonly uniqueId: number
}

/**
 * Of the mount whose root or directory `path` is; undefined where it leads to no directory. Asks nothing of that file system, which may be dead, or
 * hang, as stat(2) would.
 */
export function mountIdsOf(path: string): MountIds | undefined {
  try {
    const fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW)
    try {
      return { id: mountIdOf(fd), uniqueId: uniqueMountId(fd) }
    } finally {
      close(fd)
    }
  } catch {
    return undefined
  }
}

/** See proc_pid_mountinfo(5). A field list of unknown length ends with ` - `. */
export function parseMountInfo(text: string): MountInfo[] {
  const mounts: MountInfo[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    const fields = line.split(' ')
    const separator = fields.indexOf('-', 6)
    const [id, parentId, device, root, mountpoint, options] = fields as [string, string, string, string, string, string]
    const [type = '', source = '', superOptions = ''] = fields.slice(separator + 1)
    mounts.push({
      id: Number(id),
      parentId: Number(parentId),
      device,
      root: unescapeField(root),
      mountpoint: unescapeField(mountpoint),
      options: options.split(','),
      type,
      source: unescapeField(source),
      superOptions: superOptions.split(','),
    })
  }
  return mounts
}

/** In the kernel's lists space, tab, newline and backslash are written as `\040`. They are bytes: a name need not be UTF-8, but is read as such. */
export function unescapeField(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
