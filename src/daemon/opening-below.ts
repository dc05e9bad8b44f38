/** The first half of an OPEN, as a worker does it: the file is opened below, and is what the client may find by the name that he used. */
import { ERRNO } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { schedYield } from '../linux/fuse-device.ts'
import type { Statx } from '../linux/statx.ts'
import { CTIME_GRANULE_MS } from '../util/ctime.ts'
import type { GrantedRanges } from './grants/granted-ranges.ts'
import type { InodeFiles } from './inode-files.ts'
import { type InodeTable, SLOT } from './inode-table.ts'
import { flagsBelow, isWriting } from './open-flags.ts'
import type { ServingOptions } from './shared-state.ts'
import type { ToldStale } from './told-stale.ts'

/** A ctime may be that much too early on kernels before 6.13. */
const CTIME_GRANULARITY_SECONDS = CTIME_GRANULE_MS / 1000

/** After so long the kernel has been told of a change below that is watched for: ten times what it takes. */
const NOTICED_SECONDS = 1

/** Leases of ours last for microseconds: see linux/lease.ts. */
const LEASE_TRIES = 50
const GRANT_TRIES = 1000

interface OpeningBelowParts {
  readonly inodes: InodeTable
  readonly files: InodeFiles
  readonly granted: GrantedRanges
  readonly toldStale: ToldStale
  readonly options: ServingOptions
}

export class OpeningBelow {
  readonly #inodes: InodeTable
  readonly #files: InodeFiles
  readonly #granted: GrantedRanges
  readonly #toldStale: ToldStale
  readonly #options: ServingOptions

  constructor({ inodes, files, granted, toldStale, options }: OpeningBelowParts) {
    this.#inodes = inodes
    this.#files = files
    this.#granted = granted
    this.#toldStale = toldStale
    this.#options = options
  }

  /**
   * Opens the slot's file as the client asked and stats it: a descriptor, or -errno. ESTALE makes the kernel look the name up again: where the file
   * has been deleted or replaced below. Who comes by way of an open file (/proc/self/fd, /proc/self/exe) has no name to look up, and asks again:
   * then he gets it, as long as it is open. So does whoever asks once the kernel believes no name any more that the file had; and who has found it by a name since he was told ESTALE. `pid`: the client's thread.
   */
  open(slot: number, flags: number, pid: number, stat: Statx): number {
    const files = this.#files
    if (isWriting(flags) && !this.#options.writable) return -ERRNO.EROFS
    // The kernel opens what it passes through without asking whether the file is immutable: here it is asked.
    let fd = files.openForClient(slot, flagsBelow(flags))
    // Who grants the file looks whether anybody has it open: see isOpenElsewhere.
    for (
      let tries = 0;
      fd === -ERRNO.EAGAIN && tries < (this.#granted.hasFile(slot) ? GRANT_TRIES : LEASE_TRIES);
      tries++
    ) {
      schedYield()
      fd = files.openForClient(slot, flagsBelow(flags))
    }
    if (fd < 0) return fd
    const error = stat.ofFd(fd)
    if (error === 0 && stat.nlink > 0) return fd
    if (error === 0 && this.#isForNameless(slot, pid, stat)) return fd
    close(fd)
    return error < 0 ? error : -ERRNO.ESTALE
  }

  /** Whether who asks for a deleted file, of which `stat` is, gets it. */
  #isForNameless(slot: number, pid: number, stat: Statx): boolean {
    if (this.#toldStale.opensFound(pid, slot)) return true
    if (this.#inodes.get(slot, SLOT.OPENS) === 0) return false
    return this.#isNamelessFor(stat) || this.#toldStale.opensAgain(pid, slot)
  }

  /** Whether a deleted file has been so, since its ctime at the latest, for longer than the kernel believes names. */
  #isNamelessFor(stat: Statx): boolean {
    const nameless = Date.now() / 1000 - (stat.ctimeSec + stat.ctimeNsec / 1e9)
    const { watch, timeoutSeconds } = this.#options
    return nameless > (watch ? Math.min(timeoutSeconds, NOTICED_SECONDS) : timeoutSeconds) + CTIME_GRANULARITY_SECONDS
  }
}
