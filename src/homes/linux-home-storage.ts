/**
 * Homes on Linux: unnamed reflink clones in the source's directory, and what the kernel tells about files and homes.
 *
 * A home is made in four steps: an unnamed file (O_TMPFILE) → clone (FICLONE, on the libuv pool) → opened again through a
 * detached read-only mount → the writable descriptor closed. From then on nobody can write it through the home's descriptor:
 * the mount that it was opened through refuses (mount-tree.ts says why a read-only descriptor is not enough). It has
 * no name; only root finds it, by its inode number, as defragmenters do (hence NODEFRAG). It goes when the last descriptor goes,
 * so a crash leaves nothing behind.
 *
 * On a file system that is read-only as a whole, files cannot change, and the home is the file itself.
 */
import fs from 'node:fs'
import { btrfsGeneration } from '../linux/btrfs.ts'
import { cloneFileAsync, openUnnamedAsync } from '../linux/clone.ts'
import { ERRNO, SystemError, throwIfNegative } from '../linux/errors.ts'
import { closeAsync, O_RDONLY, reopen } from '../linux/file.ts'
import { addXflagsAsync, FS_XFLAG } from '../linux/file-attributes.ts'
import { HANDLE_ROOM, nameToHandle, openByHandle } from '../linux/handle.ts'
import { isOpenForWriting } from '../linux/lease.ts'
import { cString } from '../linux/native.ts'
import { Statx } from '../linux/statx.ts'
import { ExtentList } from '../storage/extents.ts'
import { type Filesystem, identifyFilesystem, whyFileUntrusted } from '../storage/filesystem.ts'
import { readExtentsAsync } from '../storage/read-extents.ts'
import type { HomeStorage, SourceFile, Stamp } from './home-storage.ts'
import { UnnamedFiles } from './linux-unnamed-files.ts'

/** A file of the source, open. `fileSystem` is a {@link Filesystem.identity}. */
export interface LinuxFile extends SourceFile {
  /** Open for reading only (a descriptor open for writing would itself count as a writer); stays open during every call. */
  readonly fd: number
}

export interface LinuxHome {
  /** Open for reading. */
  readonly fd: number
  /** Refuses every open for writing that starts from `fd`: only then may it back a passthrough open. */
  readonly isWriteProtected: boolean
}

/** Where the homes of one file system are made. */
export interface HomePlace {
  readonly filesystem: Filesystem
  /** A directory of the file system, O_PATH or readable. */
  readonly directoryFd: number
  /** A detached read-only mount of the file system (openReadOnlyTree), or -1 without the privilege for one. */
  readonly readOnlyTreeFd: number
}

/** For the owner only, and for reading: the mode of a home. */
const HOME_MODE = 0o400
/** Longer than most journals take when they are being written; after that a file is served without a home. */
const PATIENCE_MS = 1000
/** Homes that are closed side by side: on btrfs the last close of a file waits while the file system is frozen, and has a thread of the pool meanwhile. */
const CLOSES_MAX = 3
/** A call of no consequence: the pool takes up its calls in the order in which it was given them. */
const poolIsThere = () => fs.promises.access('/')

/** Descriptors stay the caller's; those of homes belong to the storage from createHome to dropHome. Context: one thread. */
export class LinuxHomeStorage implements HomeStorage<LinuxFile, LinuxHome> {
  readonly #places = new Map<string, HomePlace>()
  /** By the identity of the file system. */
  readonly #unnamed = new Map<string, UnnamedFiles>()
  readonly #stat = new Statx()
  /** Each resolves when a home has been closed, and those that wait for the same. */
  readonly #closes: Promise<unknown>[] = new Array(CLOSES_MAX).fill(Promise.resolve())
  #closesBegun = 0

  constructor(...places: HomePlace[]) {
    for (const place of places) this.addPlace(place)
  }

  /** Homes of a file system are made in the place that was added last. */
  addPlace(place: HomePlace): void {
    const { identity } = place.filesystem
    this.#places.set(identity, place)
    if (this.#unnamed.has(identity)) return
    const open = () => openUnnamedHome(this.#places.get(identity))
    this.#unnamed.set(identity, new UnnamedFiles({ open, close: closeAsync, poolIsThere, patienceMs: PATIENCE_MS }))
  }

  /** Nothing is asked of its files, and no home is made there, from now on. */
  removePlace(identity: string): void {
    this.#places.delete(identity)
  }

  async stamp(file: LinuxFile): Promise<Stamp> {
    const stat = this.#stat
    throwIfNegative(stat.ofFd(file.fd), 'statx')
    return { ctimeSec: stat.ctimeSec, ctimeNsec: stat.ctimeNsec, size: stat.size, nlink: stat.nlink }
  }

  async extents(file: LinuxFile, start: number, length: number, limit: number): Promise<ExtentList> {
    this.#trustedPlace(file)
    return readList(file.fd, start, length, limit)
  }

  homeExtents(home: LinuxHome, start: number, length: number): Promise<ExtentList> {
    return readList(home.fd, start, length, Number.POSITIVE_INFINITY)
  }

  async createHome(file: LinuxFile): Promise<LinuxHome> {
    const place = this.#trustedPlace(file)
    if (place.filesystem.isFrozen) return openFrozen(file.fd, place)
    const writableFd = await this.#unnamed.get(file.fileSystem)!.make()
    try {
      await cloneFileAsync(writableFd, file.fd)
      return openProtected(writableFd, place)
    } finally {
      await closeAsync(writableFd)
    }
  }

  async dropHome(home: LinuxHome): Promise<void> {
    const turn = this.#closesBegun++ % CLOSES_MAX
    const closed = this.#closes[turn]!.then(() => closeAsync(home.fd))
    // Who waits for the same closes his own home, whatever becomes of this one.
    this.#closes[turn] = closed.catch(() => {})
    await closed
  }

  async isOpenForWriting(file: LinuxFile): Promise<boolean | undefined> {
    return isOpenForWriting(file.fd)
  }

  async reuseCounter(file: LinuxFile): Promise<number | undefined> {
    if (this.#trustedPlace(file).filesystem.kind !== 'btrfs') return undefined
    return throwIfNegative(btrfsGeneration(file.fd), 'ioctl BTRFS_IOC_FS_INFO')
  }

  #trustedPlace(file: LinuxFile): HomePlace {
    const place = this.#places.get(file.fileSystem)
    if (place === undefined || whyFileUntrusted(file.fd, place.filesystem) !== undefined)
      throw new SystemError(ERRNO.EOPNOTSUPP, 'ioctl FS_IOC_FIEMAP')
    return place
  }
}

/** Empty, and open for writing. */
async function openUnnamedHome(place: HomePlace | undefined): Promise<number> {
  // Removed while others were made: its descriptor may be another's by now.
  if (place === undefined) throw new SystemError(ERRNO.EOPNOTSUPP, 'open O_TMPFILE')
  const { directoryFd, filesystem } = place
  const fd = await openUnnamedAsync(directoryFd, HOME_MODE)
  try {
    // What makes addresses a proof on XFS is that homes stay where they are; xfs_fsr finds unnamed files, too.
    if (filesystem.kind === 'xfs') await addXflagsAsync(fd, FS_XFLAG.NODEFRAG)
    return fd
  } catch (error) {
    await closeAsync(fd)
    throw error
  }
}

async function readList(fd: number, start: number, length: number, limit: number): Promise<ExtentList> {
  const list = new ExtentList()
  // Beyond the limit this is E2BIG: a list that was cut short would look as if the rest were a hole.
  throwIfNegative(await readExtentsAsync(fd, start, length, list, limit), 'ioctl FS_IOC_FIEMAP')
  return list
}

/** A read-only descriptor of what `fd` is open on; write-protected where the place can do that. */
function openProtected(fd: number, place: HomePlace): LinuxHome {
  const unprotected = () => ({ fd: throwIfNegative(reopen(fd, O_RDONLY), 'open'), isWriteProtected: false })
  if (place.readOnlyTreeFd < 0) return unprotected()
  const handle = new Uint8Array(HANDLE_ROOM)
  throwIfNegative(nameToHandle(fd, cString(''), handle), 'name_to_handle_at')
  const opened = openByHandle(place.readOnlyTreeFd, handle, O_RDONLY)
  // The root of a user namespace may clone mounts, but not open by handle.
  if (opened === -ERRNO.EPERM) return unprotected()
  return { fd: throwIfNegative(opened, 'open_by_handle_at'), isWriteProtected: true }
}

function openFrozen(fd: number, place: HomePlace): LinuxHome {
  // It may have been remounted for writing since.
  if (!identifyFilesystem(place.directoryFd).isFrozen) throw new SystemError(ERRNO.EAGAIN, 'open')
  return openProtected(fd, place)
}
