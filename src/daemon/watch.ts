/**
 * Opening the watch on the source: the events of its whole file system, for the watcher thread to read.
 *
 * The file system is marked, not the mount: whoever changes a file below comes through some other mount than the daemon's own, and
 * names are told of file systems only. What happens outside of the source comes too, and is thrown away by the watcher.
 */
import { ERRNO, errnoName } from '../linux/errors.ts'
import { FAN, markFilesystem, openEventGroup } from '../linux/fanotify.ts'
import { close, O_DIRECTORY, O_RDONLY } from '../linux/file.ts'
import { BTRFS_TOP_HANDLE, HANDLE_ROOM, handleInode, nameToHandle, openByHandle } from '../linux/handle.ts'
import { cString } from '../linux/native.ts'
import type { OpenedSource } from './source.ts'

/** What changes names or inodes. */
const WATCHED =
  FAN.MODIFY |
  FAN.ATTRIB |
  FAN.CLOSE_WRITE |
  FAN.MOVED_FROM |
  FAN.MOVED_TO |
  FAN.CREATE |
  FAN.DELETE |
  FAN.DELETE_SELF |
  FAN.MOVE_SELF |
  FAN.ONDIR

/** Begins to watch the source: a descriptor to read events from. Throws what to tell the user where it cannot be had. */
export function watchSource({ source, directoryFd, filesystem }: OpenedSource): number {
  // Events name files by handle: without those nobody knows whose they are.
  const watchFd = source.handleMountFd < 0 ? -ERRNO.EPERM : openWatch(directoryFd)
  if (watchFd >= 0) return watchFd
  throw new Error(`--watch cannot be had on this ${filesystem.kind}: ${whyNotWatched(watchFd)}`)
}

/**
 * Begins to watch the file system of the directory open as `directoryFd` (not O_PATH): a descriptor to read events from, or -errno, which
 * {@link whyNotWatched} explains.
 */
export function openWatch(directoryFd: number): number {
  const handle = new Uint8Array(HANDLE_ROOM)
  const size = nameToHandle(directoryFd, cString(''), handle)
  // Events name inodes by their handles: the number must be legible in them.
  if (size < 0 || handleInode(handle) < 0) return -ERRNO.EOPNOTSUPP
  const groupFd = openEventGroup()
  if (groupFd < 0) return groupFd
  const error = mark(groupFd, directoryFd)
  if (error === 0) return groupFd
  close(groupFd)
  return error
}

function mark(groupFd: number, directoryFd: number): number {
  const error = markFilesystem(groupFd, directoryFd, WATCHED)
  if (error !== -ERRNO.EXDEV) return error
  // A subvolume of btrfs has an id of its own, but the events of all subvolumes come by the top one.
  const topFd = openByHandle(directoryFd, BTRFS_TOP_HANDLE, O_RDONLY | O_DIRECTORY)
  if (topFd < 0) return error
  const ofTop = markFilesystem(groupFd, topFd, WATCHED)
  close(topFd)
  return ofTop
}

/** What an error of {@link openWatch} means, in a sentence for people. */
export function whyNotWatched(error: number): string {
  switch (-error) {
    case ERRNO.EPERM:
      return 'it needs CAP_SYS_ADMIN in the initial user namespace: mount as root'
    case ERRNO.EINVAL:
    case ERRNO.ENOSYS:
      return 'this kernel cannot tell which names change: it needs Linux 5.9 or newer, with CONFIG_FANOTIFY'
    case ERRNO.EMFILE:
      return 'there are too many watches already (fs.fanotify.max_user_groups)'
    case ERRNO.EXDEV:
      return 'the top of this btrfs cannot be reached: mount that (subvolid=5), or use Linux 6.2 or newer'
    default:
      return `the kernel cannot watch this file system (${errnoName(-error)})`
  }
}
