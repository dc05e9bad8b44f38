/**
 * Tries FUSE for real: a mount by the very functions that `samepage mount` uses, the first exchange with the kernel, and a backing
 * file registered for passthrough.
 *
 * The mountpoint is a new private directory. As soon as the mount is made it is detached again, and lives on only as a descriptor of
 * this process: whatever happens to it, nothing stays mounted. Signals wait until the directory is removed, too. No request but INIT ever reaches it, since nobody else can name it.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { mountFuse, unmountFuse } from '../../daemon/mounting.ts'
import { negotiate } from '../../daemon/negotiate.ts'
import type { Session } from '../../fuse/init.ts'
import { openUnnamed } from '../../linux/clone.ts'
import { close, O_DIRECTORY, O_PATH, open } from '../../linux/file.ts'
import { backingClose, backingOpen } from '../../linux/fuse-device.ts'
import { holdSignals } from '../signals.ts'

const MAX_READ = 1 << 20

export interface FuseProbe {
  readonly session: Session
  /** What registering a file for passthrough gave: > 0, or -errno. */
  readonly backing: number
}

/**
 * Mounts, asks, and ends the mount. `backingFd`: the regular file to register, or undefined for one of this machine's temporary
 * file systems. Throws what mounting or the exchange threw.
 */
export async function probeFuse(backingFd: number | undefined): Promise<FuseProbe> {
  const release = holdSignals()
  let target: string | undefined
  try {
    // As the list of mounts will have it.
    target = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'samepage-doctor-'))
    const { fuseFd, mount } = await mountFuse({
      source: 'samepage-doctor',
      target,
      allowOther: false,
      writable: false,
      nosuid: true,
      nodev: true,
      noexec: true,
      maxReadBytes: MAX_READ,
    })
    let held = -1
    try {
      try {
        // By this the connection lives after the detaching. O_PATH sends no request.
        held = open(target, O_PATH | O_DIRECTORY)
      } finally {
        unmountFuse(mount, true)
      }
      const session = negotiate(fuseFd, { passthrough: true, posixAcl: false, writable: false, maxReadBytes: MAX_READ })
      return { session, backing: tryBacking(fuseFd, backingFd) }
    } finally {
      if (held >= 0) close(held)
      close(fuseFd)
    }
  } finally {
    release()
    if (target !== undefined) fs.rmdirSync(target)
  }
}

function tryBacking(fuseFd: number, backingFd: number | undefined): number {
  const own = backingFd === undefined ? openScratch() : -1
  const backing = backingOpen(fuseFd, backingFd ?? own)
  if (backing > 0) backingClose(fuseFd, backing)
  if (own >= 0) close(own)
  return backing
}

/** A file without a name, in memory where that is possible: the root file system of a container may be stacked too deep. */
function openScratch(): number {
  for (const directory of ['/dev/shm', os.tmpdir()].filter((name) => fs.existsSync(name))) {
    const directoryFd = open(directory, O_PATH | O_DIRECTORY)
    const fd = openUnnamed(directoryFd, 0o600)
    close(directoryFd)
    if (fd >= 0) return fd
  }
  return -1
}
