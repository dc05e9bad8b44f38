/** What a file system can do for sharing: tried on the directory itself, by what the mount uses, leaving nothing behind. */
import fs from 'node:fs'
import path from 'node:path'
import { openWatch, whyNotWatched } from '../../daemon/watch.ts'
import { FS_TYPE, samepageMounts } from '../../exclusive/mounts.ts'
import { type LinuxHome, LinuxHomeStorage } from '../../homes/linux-home-storage.ts'
import { openUnnamed } from '../../linux/clone.ts'
import { SystemError } from '../../linux/errors.ts'
import { close, O_DIRECTORY, O_PATH, O_RDONLY, open, openat, pread, reopen } from '../../linux/file.ts'
import { HANDLE_ROOM, nameToHandle, openByHandle } from '../../linux/handle.ts'
import { openReadOnlyTree } from '../../linux/mount-tree.ts'
import { cString } from '../../linux/native.ts'
import { Statx } from '../../linux/statx.ts'
import { ExtentFlag, ExtentList } from '../../storage/extents.ts'
import { type Filesystem, identifyFilesystem } from '../../storage/filesystem.ts'
import { readExtents } from '../../storage/read-extents.ts'
import { UserError } from '../../util/user-error.ts'
import { hasDied } from '../mountpoint.ts'
import { examineDax } from './dax.ts'
import { about, type Finding } from './finding.ts'

/** One page that says whose it is; more than btrfs stores inside its metadata, where nothing can be cloned. */
const SAMPLE = Buffer.alloc(4096, 'samepage doctor ')
/** More than btrfs compresses without looking at the result, and hardly anything afterwards. */
const COMPRESSIBLE = Buffer.alloc(128 << 10, 'samepage doctor ')
/** Changes made at once: on a coarse clock some of them fall into one tick of 1 to 10 ms. */
const CTIME_CHANGES = 8

export interface Place {
  readonly path: string
  readonly findings: readonly Finding[]
  /** A file there to try passthrough with, a home if one could be made; undefined: nothing could be made. */
  readonly sampleFd: number | undefined
  /** Closes everything; what has no name is gone with that. */
  close(): Promise<void>
}

/** Examines the directory `argument`, or the directory that the file `argument` is in. Throws where there is none. */
export async function examinePlace(argument: string): Promise<Place> {
  const directory = directoryOf(argument)
  const directoryFd = open(directory, O_RDONLY | O_DIRECTORY)
  const treeFd = openReadOnlyTree(directoryFd)
  const filesystem = identifyFilesystem(directoryFd)
  const storage = new LinuxHomeStorage({ filesystem, directoryFd, readOnlyTreeFd: treeFd })
  const scratch = openUnnamed(directoryFd, 0o600)
  const tried = filesystem.canShare && scratch >= 0 ? await tryHome(storage, filesystem, scratch) : undefined
  const home = tried !== undefined && 'fd' in tried ? tried : undefined
  return {
    path: directory,
    sampleFd: home?.fd ?? (scratch >= 0 ? scratch : undefined),
    findings: [
      examineFilesystem(directory, filesystem),
      examineHomes(filesystem, scratch, tried),
      examineCompression(filesystem, directoryFd),
      examineHandles(directoryFd),
      examineTree(treeFd),
      examineCtime(scratch),
      examineDax(directoryFd, scratch),
      examineWatch(directoryFd),
    ].flatMap((finding) => finding ?? []),
    async close() {
      if (home !== undefined) await storage.dropHome(home)
      for (const fd of [scratch, treeFd, directoryFd]) if (fd >= 0) close(fd)
    },
  }
}

function directoryOf(argument: string): string {
  try {
    const real = fs.realpathSync(path.resolve(argument))
    const directory = fs.statSync(real).isDirectory() ? real : path.dirname(real)
    fs.accessSync(directory, fs.constants.R_OK | fs.constants.X_OK)
    return directory
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new UserError(`${argument} does not exist`)
    if (code === 'EACCES') throw new UserError(`${argument} may not be read by this user`)
    if (code === 'ENOTCONN') throw hasDied(argument)
    throw error
  }
}

function examineFilesystem(directory: string, filesystem: Filesystem): Finding {
  const here = about('file-system', 'file system')
  const { kind } = filesystem
  if (filesystem.canShare)
    return here.ok(`${kind} with reflinks: clones, snapshots and deduplicated files share memory`)
  if (kind === FS_TYPE) {
    const mount = samepageMounts().findLast(({ mountpoint }) => isIn(directory, mountpoint))
    return here.missing(
      'a Samepage mount already',
      `ask about its source: samepage doctor ${mount?.source ?? ''}`.trim(),
    )
  }
  return here.missing(
    `${kind}: files are served correctly, but share no memory. ${filesystem.reason}`,
    remedyFor(filesystem),
  )
}

/** undefined: the reason says it. */
function remedyFor({ kind, isReadOnly, hasReflinks }: Filesystem): string | undefined {
  if (kind === 'xfs' && !hasReflinks) return 'make the file system anew: mkfs.xfs gives it reflinks by default'
  if ((kind === 'xfs' || kind === 'btrfs') && isReadOnly) return undefined
  return 'keep the files on XFS or btrfs, and copy them there with cp --reflink'
}

const isIn = (inner: string, outer: string) => inner === outer || inner.startsWith(`${outer}/`)

/** Makes a home of `scratch` and compares it. Returns the home, or why there is none. */
async function tryHome(
  storage: LinuxHomeStorage,
  filesystem: Filesystem,
  scratch: number,
): Promise<LinuxHome | SystemError> {
  try {
    fs.writeSync(scratch, SAMPLE)
    // A descriptor for writing would count as a writer.
    const fd = reopen(scratch, O_RDONLY)
    if (fd < 0) throw new SystemError(-fd, 'open')
    const home = await storage
      .createHome({ fd, key: 'doctor', fileSystem: filesystem.identity, domain: 0 })
      .finally(() => close(fd))
    const bytes = Buffer.alloc(SAMPLE.length)
    if (pread(home.fd, bytes, bytes.length, 0) === bytes.length && bytes.equals(SAMPLE)) return home
    await storage.dropHome(home)
    throw new Error('a clone has other bytes than its original: this file system must not be used')
  } catch (error) {
    // Node's own errors look alike.
    if (typeof (error as SystemError).code === 'string') return error as SystemError
    throw error
  }
}

function examineHomes(
  filesystem: Filesystem,
  scratch: number,
  tried: LinuxHome | SystemError | undefined,
): Finding | undefined {
  const here = about('homes', 'homes')
  if (!filesystem.canShare) return undefined
  if (filesystem.isFrozen) return here.ok('read-only as a whole: its files cannot change and are their own homes')
  if (tried !== undefined && 'fd' in tried) return here.ok('a hidden clone was made, compared and dropped')
  const code = tried?.code ?? new SystemError(-scratch, 'open').code
  const remedies: Record<string, string> = {
    EACCES: 'mount as root, or let this user write to the directory',
    EPERM: 'mount as root, or let this user write to the directory',
    ENOSPC: 'free some space: homes need little, but not none',
    EDQUOT: "raise this user's quota: homes count against it",
    EROFS: 'mount it for writing, or make it read-only as a whole, its device too',
  }
  return here.missing(`none can be made here (${code}): files are served, but share no memory`, remedies[code])
}

/** Mount options and the directory's attributes decide whether new files are compressed: so one is written. */
function examineCompression({ kind, canShare }: Filesystem, directoryFd: number): Finding | undefined {
  if (!canShare || kind !== 'btrfs') return undefined
  const fd = openUnnamed(directoryFd, 0o600)
  if (fd < 0) return undefined
  const extents = new ExtentList()
  try {
    fs.writeSync(fd, COMPRESSIBLE)
    if (readExtents(fd, 0, COMPRESSIBLE.length, extents) < 0) return undefined
  } catch {
    // No room: the finding about homes says so.
    return undefined
  } finally {
    close(fd)
  }
  const here = about('compression', 'compression')
  if (!extents.toArray().some(({ flags }) => (flags & ExtentFlag.ENCODED) !== 0))
    return here.ok('new files are not compressed; files that are share no memory')
  return here.limited(
    'new files are compressed: clones of such files are served correctly, but share no memory',
    'mount without compress=, clear the directory (chattr -c, btrfs property set … compression none), write the files anew',
  )
}

function examineHandles(directoryFd: number): Finding {
  const here = about('file-handles', 'file handles')
  const handle = new Uint8Array(HANDLE_ROOM)
  const size = nameToHandle(directoryFd, cString(''), handle)
  const fd = size > 0 ? openByHandle(directoryFd, handle.subarray(0, size), O_PATH) : size
  if (fd >= 0) {
    close(fd)
    return here.ok('the daemon keeps no descriptor of files that nobody has open')
  }
  const costs = 'the daemon keeps a descriptor for each file that the kernel knows'
  return size > 0
    ? here.limited(`${costs}, because this user may not open by handle`, 'mount as root (CAP_DAC_READ_SEARCH)')
    : here.limited(`${costs}, because the file system has no handles`)
}

function examineTree(treeFd: number): Finding {
  const here = about('detached-mount', 'detached mount')
  if (treeFd >= 0) {
    const fd = openat(treeFd, cString('.'), O_PATH)
    if (fd >= 0) close(fd)
    return here.ok('homes are write-protected by a read-only mount that nobody else sees')
  }
  return here.limited(
    `not to be had (${new SystemError(-treeFd, 'open_tree').code}): clones are read through the daemon, not passed through`,
    'mount as root (CAP_SYS_ADMIN) on Linux 5.12 or newer',
  )
}

function examineWatch(directoryFd: number): Finding {
  const here = about('watch', 'changes below')
  const watchFd = openWatch(directoryFd)
  if (watchFd < 0) return here.limited(`noticed at the next open; --watch cannot be had, for ${whyNotWatched(watchFd)}`)
  close(watchFd)
  return here.ok('noticed at the next open, or at once (--watch)')
}

/** Changes a file several times at once, and looks at the time of change after each. */
function examineCtime(scratch: number): Finding | undefined {
  if (scratch < 0) return undefined
  const here = about('change-times', 'change times')
  const stat = new Statx()
  const seen = new Set<string>()
  for (let i = 0; i < CTIME_CHANGES; i++) {
    fs.fchmodSync(scratch, i % 2 === 0 ? 0o400 : 0o600)
    stat.ofFd(scratch)
    seen.add(`${stat.ctimeSec}.${stat.ctimeNsec}`)
  }
  if (seen.size === CTIME_CHANGES) return here.ok('fine-grained: no two changes of a file look like one')
  return here.limited(
    'coarse: changes within the same few milliseconds look like one, so a file changed less than 20 ms ago does not share yet',
    'Linux 6.13 or newer has fine-grained ones',
  )
}
