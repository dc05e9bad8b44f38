/**
 * Where the demonstration takes place: on an XFS of its own where it can be made, else in a directory that has reflinks,
 * else anywhere, with full copies in place of clones.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { cloneFile } from '../linux/clone.ts'
import { shellWord } from '../util/shell.ts'
import type { Cleanup } from './cleanup.ts'
import type { FileSet } from './file-set.ts'
import { forgetCached } from './reading.ts'
import { CannotError, isWritable, ScratchXfs, scratchDirectory, scratchParent } from './scratch.ts'

export interface Ground {
  /** A scratch directory; all else lies in it. */
  readonly directory: string
  /** An empty directory for the files. */
  readonly source: string
  /** An empty directory to mount on. */
  readonly mountpoint: string
  readonly hasReflinks: boolean
  /** Bytes that can be written to `source`. */
  readonly room: number
  /** What it is, for people. */
  readonly description: string
  /** What could not be had, and why; for people. */
  readonly notes: readonly string[]
  /** The command that removes all of it. */
  readonly removal: string
  /** How caches are emptied between two measurements, for people. */
  readonly howCold: string
  /** Empties the page cache of all files of `set`, none of which may be open. */
  makeCold(set: FileSet): void
}

/** `on`: the user's wish. `bytesNeeded`: how large the files will be on the disk. */
export function chooseGround(on: string | undefined, bytesNeeded: number, cleanup: Cleanup): Ground {
  if (on !== undefined) return directoryGround(on, [], cleanup)
  const notes: string[] = []
  try {
    return scratchGround(bytesNeeded, cleanup)
  } catch (error) {
    if (!(error instanceof CannotError)) throw error
    notes.push(`No file system of its own: ${error.message}.`)
  }
  const parent = [process.cwd(), scratchParent(), os.homedir()].find(hasReflinks)
  if (parent !== undefined) return directoryGround(parent, notes, cleanup)
  return directoryGround(scratchParent(), notes, cleanup)
}

function scratchGround(bytesNeeded: number, cleanup: Cleanup): Ground {
  const parent = scratchParent()
  const free = freeBytesOf(parent)
  if (free < 1.5 * bytesNeeded) throw new CannotError(`${parent} has not enough room (TMPDIR names another directory)`)
  const { directory } = scratchDirectory(parent, cleanup)
  // Sparse, and much larger than the files: overwriting clones takes room for a while.
  const xfs = new ScratchXfs(directory, 8 * bytesNeeded + 2 ** 30)
  return {
    ...placesIn(directory, xfs.path),
    hasReflinks: true,
    room: freeBytesOf(xfs.path),
    description: `an XFS of its own, in a file in ${parent}`,
    notes: [],
    removal: `umount ${shellWord(xfs.path)} && rm -r ${shellWord(directory)}`,
    howCold: 'by unmounting it and mounting it again',
    makeCold: () => xfs.remount(),
  }
}

function directoryGround(parent: string, notes: readonly string[], cleanup: Cleanup): Ground {
  if (!isWritable(parent)) throw new CannotError(`${parent} is no directory that this user may write to`)
  const reflinks = hasReflinks(parent)
  const { directory } = scratchDirectory(parent, cleanup)
  const places = placesIn(directory, directory)
  return {
    ...places,
    hasReflinks: reflinks,
    room: freeBytesOf(parent),
    description: parent,
    notes: reflinks
      ? notes
      : [
          ...notes,
          `No reflinks in ${parent}: the clones are full copies, which share nothing. --on DIR names a directory on XFS or btrfs.`,
        ],
    removal: `rm -r ${shellWord(directory)}`,
    howCold: 'by asking the kernel to forget them (posix_fadvise)',
    makeCold: (set) => forgetCached(set, places.source),
  }
}

function placesIn(directory: string, files: string): Pick<Ground, 'directory' | 'source' | 'mountpoint'> {
  const places = { directory, source: path.join(files, 'files'), mountpoint: path.join(directory, 'mnt') }
  fs.mkdirSync(places.source)
  fs.mkdirSync(places.mountpoint)
  return places
}

/** Tries it with two small files. */
function hasReflinks(directory: string): boolean {
  let scratch: string
  try {
    scratch = fs.mkdtempSync(path.join(directory, '.samepage-demo-reflinks-'))
  } catch {
    return false
  }
  try {
    fs.writeFileSync(path.join(scratch, 'a'), Buffer.alloc(8192, 1))
    const [from, to] = [fs.openSync(path.join(scratch, 'a'), 'r'), fs.openSync(path.join(scratch, 'b'), 'w')]
    try {
      return cloneFile(to, from) === 0
    } finally {
      fs.closeSync(from)
      fs.closeSync(to)
    }
  } catch {
    // Full: that there is no room is said later.
    return false
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true })
  }
}

function freeBytesOf(directory: string): number {
  const { bavail, bsize } = fs.statfsSync(directory)
  return bavail * bsize
}
