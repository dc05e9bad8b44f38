/** Where dedupe cannot work at all, and what to do instead: said before anything is read. */
import fs from 'node:fs'
import path from 'node:path'
import { SystemError } from '../linux/errors.ts'
import { close, O_PATH, open } from '../linux/file.ts'
import { readMountInfo } from '../linux/mountinfo.ts'
import { Statx } from '../linux/statx.ts'
import { type Filesystem, identifyFilesystem } from '../storage/filesystem.ts'

/** Blocks of this size can be compared page by page. */
const BLOCK_BYTES = 4096
const SAMEPAGE = 'fuse.samepage'

/** Why files of a file system cannot be made to share, as a sentence; undefined if they can. */
export function whyNoDedupe(filesystem: Filesystem): string | undefined {
  if (!filesystem.hasReflinks || !filesystem.hasTrustedAddresses) return filesystem.reason
  if (filesystem.blockSize !== BLOCK_BYTES)
    return `Its blocks are of ${filesystem.blockSize} bytes, and only those of ${BLOCK_BYTES} can be compared page by page.`
  if (filesystem.isReadOnly) return 'It is mounted read-only, so nothing can be made to share: mount it for writing.'
  return undefined
}

/** Why nothing below `argument`, which exists, can be made to share; undefined if something may. Throws a SystemError where it cannot be read. */
export function whyRefused(argument: string): string | undefined {
  const real = fs.realpathSync.native(argument)
  const mount = readMountInfo()
    .filter(({ mountpoint }) => real === mountpoint || real.startsWith(mountpoint === '/' ? '/' : `${mountpoint}/`))
    // Of two at one place the later hides the earlier.
    .reduce((best, other) => (other.mountpoint.length >= best.mountpoint.length ? other : best))
  if (mount.type === SAMEPAGE) {
    const { mountpoint, source } = mount
    return source === mountpoint
      ? `It is in a Samepage mount over its own source, and blocks cannot be shared through FUSE. Unmount it first (samepage umount ${mountpoint}).`
      : `It is in the Samepage mount at ${mountpoint}, and blocks cannot be shared through FUSE. Use its source: ${path.join(source, path.relative(mountpoint, real))}`
  }
  const fd = open(real, O_PATH)
  try {
    const stat = new Statx()
    const error = stat.ofFd(fd)
    if (error < 0) throw new SystemError(-error, 'statx', real)
    if (!stat.isDirectory && !stat.isFile) return 'It is neither a regular file nor a directory.'
    return whyNoDedupe(identifyFilesystem(fd))
  } finally {
    close(fd)
  }
}
