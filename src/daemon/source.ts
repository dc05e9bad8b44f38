/** Opening the source: how its files can be reached, and whether they can share. */
import { close, O_DIRECTORY, O_PATH, O_RDONLY, openat, reopen } from '../linux/file.ts'
import { HANDLE_ROOM, nameToHandle, openByHandle } from '../linux/handle.ts'
import { statFd } from '../linux/mount-id.ts'
import { openReadOnlyTree, openWritableTree } from '../linux/mount-tree.ts'
import { cString } from '../linux/native.ts'
import { Statx } from '../linux/statx.ts'
import { type Filesystem, identifyFilesystem } from '../storage/filesystem.ts'
import type { Source } from './inode-files.ts'
import type { ServingStart, Sharing } from './shared-state.ts'

export interface OpenedSource {
  readonly source: Source
  /** A readable descriptor of the source directory, through the mount that the user named: homes are made here. */
  readonly directoryFd: number
  readonly filesystem: Filesystem
  readonly sharing: Sharing
}

/**
 * Opens the source through a private mount of it where that is allowed: read-only unless clients may write it, and without
 * what is mounted below it, so other file systems are not seen. `start.sourceFd` is the source directory, open for reading.
 */
export function openSource(start: ServingStart): OpenedSource {
  const directoryFd = start.sourceFd
  const openTree = start.writable ? openWritableTree : openReadOnlyTree
  const tree = start.privileged && !start.cross ? openTree(directoryFd) : -1
  const rootFd = tree >= 0 ? tree : reopen(directoryFd, O_PATH | O_DIRECTORY)
  const root = new Statx()
  const error = statFd(root, rootFd)
  if (error < 0) throw new Error(`the source cannot be read: errno ${-error}`)
  const filesystem = identifyFilesystem(directoryFd)
  return {
    source: {
      rootFd,
      handleMountFd: openHandleMount(rootFd),
      rootMountId: root.mountId,
      cross: start.cross,
      domain: start.domain,
    },
    directoryFd,
    filesystem,
    sharing: sharingOf(start, filesystem),
  }
}

/** A descriptor for open_by_handle_at, if that works here, with this privilege and on this file system; else -1. */
function openHandleMount(rootFd: number): number {
  const mountFd = openat(rootFd, cString('.'), O_RDONLY | O_DIRECTORY)
  if (mountFd < 0) return -1
  const handle = new Uint8Array(HANDLE_ROOM)
  const size = nameToHandle(mountFd, cString(''), handle)
  const fd = size > 0 ? openByHandle(mountFd, handle.subarray(0, size), O_PATH) : -1
  if (fd >= 0) {
    close(fd)
    return mountFd
  }
  close(mountFd)
  return -1
}

function sharingOf(start: ServingStart, filesystem: Filesystem): Sharing {
  if (!start.homes) return { possible: false, fileSystem: filesystem.kind, reason: 'switched off (--no-homes)' }
  return { possible: filesystem.canShare, fileSystem: filesystem.kind, reason: filesystem.reason }
}
