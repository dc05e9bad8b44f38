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

/** A ctime may be that much too early on kernels before 6.13. */
const CTIME_GRANULARITY_SECONDS = CTIME_GRANULE_MS / 1000

/** After so long the kernel has been told of a change below that is watched for: ten times what it takes. */
const NOTICED_SECONDS = 1

/** Leases of ours last for microseconds: see linux/lease.ts. */
const LEASE_TRIES = 50
const GRANT_TRIES = 1000

export interface OpeningBelowParts {
  readonly inodes: InodeTable
  readonly files: InodeFiles
  readonly granted: GrantedRanges
  readonly options: ServingOptions
}

export class OpeningBelow {
  readonly #inodes: InodeTable
  readonly #files: InodeFiles
  readonly #granted: GrantedRanges
  readonly #options: ServingOptions

  constructor({ inodes, files, granted, options }: OpeningBelowParts) {
    this.#inodes = inodes
    this.#files = files
    this.#granted = granted
    this.#options = options
  }

  /**
   * Opens the slot's file as the client asked and stats it: a descriptor, or -errno. ESTALE makes the kernel look the name up again: where the file
   * has been deleted or replaced below. Who comes by way of an open file (/proc/self/fd, /proc/self/exe) has no name to look up, and asks again:
   * then he gets it, as long as it is open. So does whoever asks once the kernel believes no name any more that the file had. `pid`: the client's thread.
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
    const isOpen = error === 0 && this.#inodes.get(slot, SLOT.OPENS) > 0
    if (isOpen && (this.#isNamelessFor(stat) || this.#asksAgain(slot, pid))) return fd
    close(fd)
    return error < 0 ? error : -ERRNO.ESTALE
  }

  /** Whether the thread was told ESTALE the last time, and has found no other file by a name; else it is told so now. Who cannot be seen from here has pid 0. */
  #asksAgain(slot: number, pid: number): boolean {
    const { words } = this.#inodes
    const refused = this.#inodes.at(slot) + SLOT.REFUSED
    const again = Atomics.compareExchange(words, refused, pid + 1, 0) === pid + 1
    if (!again) Atomics.store(words, refused, pid + 1)
    return again
  }

  /** Whether a deleted file has been so, since its ctime at the latest, for longer than the kernel believes names. */
  #isNamelessFor(stat: Statx): boolean {
    const nameless = Date.now() / 1000 - (stat.ctimeSec + stat.ctimeNsec / 1e9)
    const { watch, timeoutSeconds } = this.#options
    return nameless > (watch ? Math.min(timeoutSeconds, NOTICED_SECONDS) : timeoutSeconds) + CTIME_GRANULARITY_SECONDS
  }
}
