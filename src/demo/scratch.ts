/**
 * Directories of the demonstration, and a real XFS in a file, mounted through a loop device that reads the file directly
 * (else the file's own pages would sit in the page cache beside those that are counted).
 *
 * Each directory is called after the process that made it: what a killed process left behind, the next one removes.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describeError, ERRNO, SystemError } from '../linux/errors.ts'
import { MNT_DETACH, mount, umount } from '../linux/mount.ts'
import { readMountInfo } from '../linux/mountinfo.ts'
import { type Cleanup, isInterruption, waitUntil } from './cleanup.ts'

const PREFIX = 'samepage-demo-'
/** A directory with this file in it was kept on purpose. */
const KEPT = 'kept'
const UNMOUNT_MS = 10_000

/** What cannot be done here, said for people; the demonstration may go on in another way. */
export class CannotError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'CannotError'
  }
}

/** A new directory below `parent`. It goes at clean-up, or with `remove`, and all that is mounted in it goes too. */
export function scratchDirectory(parent: string, cleanup: Cleanup): { directory: string; remove: () => void } {
  sweepLeftovers(parent)
  const directory = newDirectory(path.join(fs.realpathSync(parent), `${PREFIX}${process.pid}-`))
  fs.chmodSync(directory, 0o755)
  return { directory, remove: cleanup.defer(() => removeDirectory(directory)) }
}

function newDirectory(prefix: string): string {
  try {
    return fs.mkdtempSync(prefix)
  } catch (error) {
    // The file system is full, or (/proc) one in which nobody makes anything.
    const { code = '' } = error as NodeJS.ErrnoException
    throw new CannotError(`no directory can be made in ${path.dirname(prefix)}: ${describeError(code)}`)
  }
}

/** Marks a scratch directory as one that nobody sweeps. */
export function keepDirectory(directory: string): void {
  fs.writeFileSync(path.join(directory, KEPT), '')
}

/** Where temporary files of some size belong: /var/tmp lies on a disk, which cannot be said of /tmp. */
export function scratchParent(): string {
  const candidates = [process.env.TMPDIR, '/var/tmp', '/tmp']
  return candidates.find((directory) => directory !== undefined && isWritable(directory)) ?? process.cwd()
}

/** An XFS with reflinks in a sparse file. Needs root, mkfs.xfs and loop devices, or throws a {@link CannotError}. */
export class ScratchXfs {
  /** Where it is mounted. */
  readonly path: string
  readonly #image: string

  /** `directory` is a scratch directory: its clean-up unmounts. */
  constructor(directory: string, size: number) {
    if (process.geteuid?.() !== 0) throw new CannotError('making a file system needs root')
    this.path = path.join(directory, 'xfs')
    this.#image = path.join(directory, 'xfs.image')
    fs.mkdirSync(this.path)
    fs.writeFileSync(this.#image, '')
    fs.truncateSync(this.#image, Math.max(size, 512 << 20))
    runProgram('mkfs.xfs', ['-q', '-f', '-m', 'reflink=1', this.#image], 'xfsprogs')
    this.#mount()
  }

  /** Empties its page cache, and no other: unmounts it and mounts it again. Nothing may be open in it. */
  remount(): void {
    unmountWhenFree(this.path)
    this.#mount()
  }

  #mount(): void {
    const device = runProgram('losetup', ['--find', '--show', '--direct-io=on', this.#image], 'mount').trim()
    try {
      mount(device, this.path, 'xfs', 0, '')
    } catch (error) {
      if (error instanceof SystemError) throw new CannotError(`mounting an XFS failed: ${error.message}`)
      throw error
    } finally {
      // Put off by the kernel until the file system is unmounted: nothing is left to do then.
      runProgram('losetup', ['--detach', device], 'mount')
    }
  }
}

/** Unmounts, in any case at once for the name space; waits for users to go first. */
export function unmountWhenFree(target: string): void {
  let error = 0
  const free = waitUntil(() => {
    error = umount(target)
    return error !== -ERRNO.EBUSY
  }, UNMOUNT_MS)
  if (!free) error = umount(target, MNT_DETACH)
  if (error < 0) throw new SystemError(-error, 'umount', target)
}

/** Unmounts a FUSE mount whose server may be dead or stuck. Never throws. */
export function detachFuse(target: string): void {
  if (umount(target, MNT_DETACH) === -ERRNO.EPERM)
    spawnSync('fusermount3', ['-u', '-z', '--', target], { stdio: 'ignore' })
}

/** Runs a program of the system to its end: its output, or a {@link CannotError} with its own words. */
function runProgram(program: string, args: string[], debianPackage: string): string {
  const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`
  // In a session of its own: Ctrl-C is for the demonstration, which then undoes what the program did.
  const options = { encoding: 'utf8', env: { ...process.env, PATH, LC_ALL: 'C' }, detached: true } as const
  let child = spawnSync(program, args, options)
  // The signal came before it had that session, so it has done nothing yet. The demonstration hears of it once nothing is half done.
  if (isInterruption(child.signal)) child = spawnSync(program, args, options)
  if (child.error !== undefined)
    throw new CannotError(`${program} is missing (Debian: apt install ${debianPackage}): ${child.error.message}`)
  if (child.signal !== null) throw new CannotError(`${program} was ended by ${child.signal}`)
  if (child.status !== 0) throw new CannotError(`${program} failed: ${child.stderr.trim()}`)
  return child.stdout
}

function removeDirectory(directory: string): void {
  for (const { mountpoint, type } of mountsBelow(directory)) {
    if (type.startsWith('fuse')) detachFuse(mountpoint)
    else unmountWhenFree(mountpoint)
  }
  // Never delete through a mount.
  if (mountsBelow(directory).length === 0) fs.rmSync(directory, { recursive: true, force: true })
}

/** The mounts in `directory`, the last made first. */
function mountsBelow(directory: string): ReturnType<typeof readMountInfo> {
  return readMountInfo()
    .filter(({ mountpoint }) => mountpoint.startsWith(`${directory}/`))
    .reverse()
}

/** Removes the directories of processes that are no more. */
function sweepLeftovers(parent: string): void {
  const real = fs.realpathSync(parent)
  for (const name of fs.readdirSync(real)) {
    const owner = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]
    if (owner === undefined || fs.existsSync(`/proc/${owner}`)) continue
    const directory = path.join(real, name)
    if (fs.existsSync(path.join(directory, KEPT)) || fs.lstatSync(directory).uid !== process.geteuid?.()) continue
    removeDirectory(directory)
  }
}

export function isWritable(directory: string): boolean {
  try {
    if (!fs.statSync(directory).isDirectory()) return false
    fs.accessSync(directory, fs.constants.W_OK | fs.constants.X_OK)
    return true
  } catch {
    return false
  }
}
