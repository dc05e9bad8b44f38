/** What is wrong with a source and a mountpoint, said before anything is done. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { FS_TYPE } from '../exclusive/mounts.ts'
import { readMountInfo } from '../linux/mountinfo.ts'
import { raiseDescriptorLimit } from '../linux/rlimit.ts'
import { runtimeDirectory } from '../util/runtime-directory.ts'
import { UserError } from '../util/user-error.ts'
import { hasDied } from './mountpoint.ts'

/** Resolves both to absolute paths without symlinks, or throws a {@link UserError} that says what to do. */
export function checkMount(
  sourceArgument: string,
  mountpointArgument: string,
  cross: boolean,
): { source: string; mountpoint: string } {
  const mountpoint = resolveDirectory(mountpointArgument, 'the mountpoint')
  const source = resolveDirectory(sourceArgument, 'the source')
  const mounts = readMountInfo()
  const samepage = mounts.filter(({ type }) => type === FS_TYPE).map((mount) => mount.mountpoint)

  const above = samepage.find((other) => source === other || isInside(source, other))
  if (above !== undefined)
    throw new UserError(
      source === above
        ? `${source} is a Samepage mount already: "samepage umount ${source}" ends it`
        : `${source} lies in the Samepage mount ${above}: mount that one's own source instead`,
    )
  const below = samepage.find((other) => isInside(other, source))
  if (below !== undefined && (cross || mountpoint === source))
    throw new UserError(`${source} contains the Samepage mount ${below}: unmount that first`)

  if (mountpoint === source) {
    refuseToHideItself(source)
    return { source, mountpoint }
  }
  if (isInside(mountpoint, source))
    throw new UserError(
      `the mountpoint ${mountpoint} lies inside the source ${source}: choose one outside, or mount in place ("samepage mount ${source}")`,
    )
  if (isInside(source, mountpoint))
    throw new UserError(
      `the source ${source} lies inside the mountpoint ${mountpoint}, which would hide it: choose another mountpoint`,
    )
  const busy = mounts.find((mount) => mount.mountpoint === mountpoint)
  if (busy !== undefined)
    throw new UserError(`the mountpoint ${mountpoint} is busy: ${busy.source} (${busy.type}) is mounted there`)
  if (fs.readdirSync(mountpoint).length > 0)
    throw new UserError(
      `the mountpoint ${mountpoint} is not empty: what is in it would be hidden; use an empty directory`,
    )
  return { source, mountpoint }
}

/** Threads that serve requests, if nobody says how many. */
export const defaultWorkers = (): number => Math.max(4, os.availableParallelism() + 2)

/** Of descriptors, what a start takes: all threads read the program's files at once. Measured: 160 are too few for 4 workers, 192 enough. */
const DESCRIPTORS_MIN = 96
const DESCRIPTORS_PER_WORKER = 40

/** How many descriptors a mount with so many workers needs to start. */
export const descriptorsNeeded = (workers: number): number => DESCRIPTORS_MIN + DESCRIPTORS_PER_WORKER * workers

/** Throws a {@link UserError} where the hard limit of open files is too low for a mount with so many workers. */
export function checkDescriptorLimit(workers: number): void {
  const needed = descriptorsNeeded(workers)
  const limit = raiseDescriptorLimit()
  if (limit < needed)
    throw new UserError(
      `a process may open ${limit} files here, and a mount with ${workers} workers needs ${needed} to start: raise the hard limit (ulimit -Hn, LimitNOFILE=)`,
    )
}

/**
 * What the daemon opens while it serves: below its own mount it would wait for itself. Only a mount in place can hide it, for
 * every other one needs an empty directory.
 */
function refuseToHideItself(source: string): void {
  const needed = {
    'Node.js': process.execPath,
    Samepage: fileURLToPath(new URL('../..', import.meta.url)),
    'a library of Samepage': fileURLToPath(import.meta.resolve('koffi')),
    'the directory of its control sockets': runtimeDirectory(),
    'the FUSE device': '/dev/fuse',
  }
  for (const [what, file] of Object.entries(needed)) {
    const real = realPathOf(file)
    if (real === source || isInside(real, source))
      throw new UserError(
        `${source} cannot be mounted in place: ${what} lies in it (${real}), and the mount itself needs that; mount it elsewhere, or only a directory in it`,
      )
  }
}

/** Of what need not exist yet. */
function realPathOf(file: string): string {
  const absolute = path.resolve(file)
  try {
    return fs.realpathSync(absolute)
  } catch {
    const parent = path.dirname(absolute)
    return parent === absolute ? absolute : path.join(realPathOf(parent), path.basename(absolute))
  }
}

function resolveDirectory(argument: string, what: string): string {
  let real: string
  try {
    real = fs.realpathSync(path.resolve(argument))
    if (fs.statSync(real).isDirectory()) {
      fs.accessSync(real, fs.constants.R_OK | fs.constants.X_OK)
      return real
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new UserError(`${what} ${argument} does not exist${hintFor(argument)}`)
    if (code === 'EACCES') throw new UserError(`${what} ${argument} may not be read by this user`)
    if (code === 'ENOTCONN') throw hasDied(argument)
    if (code === 'ELOOP') throw new UserError(`${what} ${argument} is a symlink that leads back to itself`)
    throw error
  }
  throw new UserError(`${what} ${argument} is not a directory`)
}

/** Node.js puts U+FFFD in the place of bytes that are no UTF-8. */
const hintFor = (argument: string): string =>
  argument.includes('\ufffd') ? ', or its name is not UTF-8: bind-mount it where it has another' : ''

function isInside(inner: string, outer: string): boolean {
  return inner !== outer && inner.startsWith(outer === '/' ? '/' : `${outer}/`)
}
