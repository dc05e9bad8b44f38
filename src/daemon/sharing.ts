/**
 * Sharing, put together for one mount: families over the source's file system, reached through slots of the inode table.
 */

import { Families } from '../homes/families.ts'
import type { SourceFile } from '../homes/home-storage.ts'
import { type LinuxHome, LinuxHomeStorage } from '../homes/linux-home-storage.ts'
import { ReopeningStorage } from '../homes/linux-reopening-storage.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close, O_NONBLOCK, O_RDONLY, reopen } from '../linux/file.ts'
import { openByHandle } from '../linux/handle.ts'
import { openReadOnlyTree } from '../linux/mount-tree.ts'
import { Statx } from '../linux/statx.ts'
import type { ContentCache } from './content/content-cache.ts'
import type { DirectHomes } from './dax/direct-homes.ts'
import type { FilesystemTable } from './filesystem-table.ts'
import type { GrantedRanges } from './grants/granted-ranges.ts'
import { type InodeTable, SLOT } from './inode-table.ts'
import { Keeper } from './keeper.ts'
import type { LockCounts } from './locks/lock-counts.ts'
import type { OpenNodes } from './near/open-nodes.ts'
import type { SharedHomes } from './shared-homes.ts'
import type { ServingOptions, ServingStart, ToWorker } from './shared-state.ts'
import type { ServingState } from './slot-serving.ts'
import type { OpenedSource } from './source.ts'
import type { WarmFiles } from './warm-files.ts'

/** Every thread knows them all: with some 220,000 the heap of a worker is full. */
const MAPS_MAX = 50_000

/** How a file can be reached again at any time: by its handle, or, without handles, through its slot as long as that is its own. */
interface ReachableFile extends SourceFile {
  readonly slot: number
  readonly generation: number
  readonly ino: number
  /** Empty: there is none. */
  readonly handle: Uint8Array
}

interface SharingParts {
  readonly inodes: InodeTable
  readonly filesystems: FilesystemTable
  readonly serving: ServingState
  readonly homes: SharedHomes
  readonly locks: LockCounts
  readonly warm: WarmFiles
  readonly granted: GrantedRanges
  readonly options: ServingOptions
  readonly start: ServingStart
  readonly source: OpenedSource
  readonly homesMax: number
  readonly fuseFd: number
  readonly contents: ContentCache | undefined
  readonly opened: OpenNodes | undefined
  readonly direct: DirectHomes | undefined
  readonly toWorkers: (message: ToWorker) => void
}

export type MountKeeper = Keeper<ReachableFile, LinuxHome>

export function openSharing(parts: SharingParts): MountKeeper {
  const { inodes, start, source } = parts
  // Addresses mean something within one file system only. What is crossed into has no place for homes: its files are private.
  const identityOf = (slot: number) =>
    parts.filesystems.isOfMount(inodes.get(slot, SLOT.FS)) ? source.filesystem.identity : 'crossed'
  const storage = new ReopeningStorage(linuxStorage(parts), reaching(inodes, source.source.handleMountFd))
  return new Keeper<ReachableFile, LinuxHome>({
    inodes,
    serving: parts.serving,
    homes: parts.homes,
    locks: parts.locks,
    warm: parts.warm,
    granted: parts.granted,
    options: parts.options,
    fuseFd: parts.fuseFd,
    mapsMax: MAPS_MAX,
    contents: parts.contents,
    opened: parts.opened,
    direct: parts.direct,
    toWorkers: parts.toWorkers,
    fileOf: (slot) => reachable(inodes, slot, identityOf(slot)),
    familiesFor: (users, forget) =>
      new Families(storage, users, () => Date.now(), {
        minShareBytes: start.minShareBytes,
        maxHomes: parts.homesMax,
        idleMs: start.homeIdleMs,
        onForget: forget,
      }),
  })
}

function linuxStorage({ start, source }: SharingParts): LinuxHomeStorage {
  return new LinuxHomeStorage({
    filesystem: source.filesystem,
    directoryFd: source.directoryFd,
    readOnlyTreeFd: start.privileged ? openReadOnlyTree(source.directoryFd) : -1,
  })
}

function reachable(inodes: InodeTable, slot: number, identity: string): ReachableFile {
  const handle = inodes.handle(slot).slice()
  const generation = inodes.get(slot, SLOT.GENERATION)
  const ino = (inodes.get(slot, SLOT.INO_HIGH) >>> 0) * 2 ** 32 + (inodes.get(slot, SLOT.INO_LOW) >>> 0)
  const fs = inodes.get(slot, SLOT.FS)
  const domain = inodes.domain(slot)
  return {
    // In another domain it is another file. The handle has the inode's generation in it; without one, the slot's will do: a number used again gets another slot.
    key: `${domain}:${fs}:${ino}:${handle.length > 0 ? Buffer.from(handle).toString('hex') : `${slot}.${generation}`}`,
    fileSystem: identity,
    domain,
    slot,
    generation,
    ino,
    handle,
  }
}

/** What gives a descriptor for reading, or throws: ESTALE where the file is gone, or cannot be reached any more. */
function reaching(inodes: InodeTable, mountFd: number): (file: ReachableFile) => number {
  const stat = new Statx()
  return (file) => {
    if (file.handle.length > 0) {
      const fd = openByHandle(mountFd, file.handle, O_RDONLY | O_NONBLOCK)
      if (fd < 0) throw new SystemError(-fd, 'open_by_handle_at')
      return fd
    }
    const isItsSlot = inodes.isInUse(file.slot) && inodes.get(file.slot, SLOT.GENERATION) === file.generation
    const fd = isItsSlot ? reopen(inodes.get(file.slot, SLOT.FD), O_RDONLY | O_NONBLOCK) : -ERRNO.ESTALE
    if (fd < 0) throw new SystemError(-fd, 'open')
    // The slot may have been given away while it was being opened.
    if (stat.ofFd(fd) === 0 && stat.ino === file.ino) return fd
    close(fd)
    throw new SystemError(ERRNO.ESTALE, 'open')
  }
}
