/**
 * Real file systems for tests: an image file below the temporary directory, made with mkfs, mounted through a loop
 * device that reads and writes the image directly (without that, the image's own pages would sit in the page
 * cache beside the ones that a test counts).
 *
 * A `LoopFilesystem` lives in a directory of its own and takes down with it whatever was mounted below that directory:
 * put a test's other mountpoints there. It is cleaned up by `await using`, and when the process exits or
 * is interrupted. What a killed process left behind is swept by the next one that makes a file system.
 *
 *     await using xfs = await loopFilesystem('xfs')
 *     await fs.writeFile(`${xfs.path}/a`, 'bytes')
 */
import { execFile, execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export type LoopKind = 'xfs' | 'btrfs' | 'ext4'

export interface LoopOptions {
  /** Size of the file system in bytes; the image is sparse. Default 1 GiB, mkfs.xfs wants 300 MiB at least. */
  size?: number
  /** Further arguments of mkfs, e.g. `['-m', 'reflink=0']`. */
  mkfs?: string[]
  /** Mount options, e.g. `['compress=zstd', 'ro']`. */
  mount?: string[]
}

const DEFAULT_SIZE = 1024 ** 3

/** Quiet, and over what was there; the images are scratch, so btrfs may go without its second copy of metadata. */
const MKFS: Record<LoopKind, string[]> = {
  xfs: ['mkfs.xfs', '-q', '-f'],
  btrfs: ['mkfs.btrfs', '-q', '-f', '-m', 'single'],
  ext4: ['mkfs.ext4', '-q', '-F'],
}

/** mkfs and losetup lie in directories that are not on every PATH. */
const environment = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' }

const DIRECTORY_PREFIX = 'samepage-loop-'

/** Makes and mounts a file system. Needs root. Throws with the program's own words when one of the steps fails. */
export async function loopFilesystem(kind: LoopKind, options: LoopOptions = {}): Promise<LoopFilesystem> {
  cleanUpAtExit()
  sweepLeftovers()
  const directory = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), `${DIRECTORY_PREFIX}${process.pid}-`))
  // Tests look at the file system as ordinary users too.
  fs.chmodSync(directory, 0o755)
  const filesystem = new LoopFilesystem(kind, directory)
  try {
    fs.writeFileSync(filesystem.image, '')
    fs.truncateSync(filesystem.image, options.size ?? DEFAULT_SIZE)
    const [mkfs, ...flags] = MKFS[kind] as [string, ...string[]]
    await run(mkfs, [...flags, ...(options.mkfs ?? []), filesystem.image], { env: environment })
    await filesystem.mount(options.mount)
  } catch (error) {
    await filesystem[Symbol.asyncDispose]()
    throw error
  }
  return filesystem
}

export class LoopFilesystem implements AsyncDisposable {
  readonly kind: LoopKind
  /** Private to this file system; room for mountpoints of the test. */
  readonly directory: string
  /** Where the file system is mounted. */
  readonly path: string
  /** The file that holds it: cut it short to make the device fail. */
  readonly image: string
  /** The loop device while mounted, e.g. `/dev/loop3`. */
  device = ''

  constructor(kind: LoopKind, directory: string) {
    this.kind = kind
    this.directory = directory
    this.path = path.join(directory, 'fs')
    this.image = path.join(directory, 'image')
    fs.mkdirSync(this.path)
  }

  /** Mounts the image, after `unmount` once more: a way to begin with cold caches or other options. With `ro` the device is read-only too. */
  async mount(options: string[] = []): Promise<void> {
    const device = options.includes('ro') ? ['--read-only', this.image] : [this.image]
    const { stdout } = await run('losetup', ['--find', '--show', '--direct-io=on', ...device], { env: environment })
    this.device = stdout.trim()
    try {
      // The kernel remembers this of a device beyond its last use.
      if (!options.includes('ro')) await run('blockdev', ['--setrw', this.device], { env: environment })
      await run('mount', ['-t', this.kind, '-o', ['rw', ...options].join(','), this.device, this.path], {
        env: environment,
      })
    } finally {
      // The kernel puts a detach off until the device's last user, the mount, is gone: nothing to do after umount.
      await run('losetup', ['--detach', this.device], { env: environment })
    }
  }

  /** Unmounts it and everything below its directory. Throws when something is still in use after five seconds. */
  async unmount(): Promise<void> {
    const deadline = Date.now() + 5000
    for (;;) {
      const mountpoints = mountpointsBelow(this.directory)
      if (mountpoints.length === 0) return
      try {
        for (const mountpoint of mountpoints) await run('umount', [mountpoint], { env: environment })
      } catch (error) {
        if (Date.now() > deadline) throw error
        await sleep(100)
      }
    }
  }

  /** Removes everything. A mount that is still in use is detached, and then the reason is thrown. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.unmount()
    } finally {
      removeNow(this.directory)
    }
  }

  /** Bytes read from the device since it was attached. */
  bytesRead(): number {
    const statistics = fs
      .readFileSync(`/sys/block/${path.basename(this.device)}/stat`, 'utf8')
      .trim()
      .split(/\s+/)
    return Number(statistics[2]) * 512
  }
}

/** The mountpoints in `directory`, the last mounted first. */
function mountpointsBelow(directory: string): string[] {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => unescapeMountinfo(line.split(' ')[4] ?? ''))
    .filter((mountpoint) => mountpoint.startsWith(`${directory}/`))
    .reverse()
}

/** mountinfo writes space, tab, newline and backslash as `\040`. */
function unescapeMountinfo(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** Detaches and removes a file system's directory at once, from an exit handler for example. Never throws. */
function removeNow(directory: string): void {
  for (const mountpoint of mountpointsBelow(directory)) {
    try {
      // Lazily and without looking at the path: the server of a FUSE mount may be dead or hung.
      execFileSync('umount', ['--lazy', '--no-canonicalize', mountpoint], { env: environment, stdio: 'ignore' })
    } catch {
      // Perhaps gone already; what is left is swept by a later run.
    }
  }
  // Never delete through a mount.
  if (mountpointsBelow(directory).length === 0) fs.rmSync(directory, { recursive: true, force: true })
}

/** Removes the directories of processes that are no more. */
function sweepLeftovers(): void {
  const temporary = fs.realpathSync(os.tmpdir())
  for (const name of fs.readdirSync(temporary)) {
    const owner = new RegExp(`^${DIRECTORY_PREFIX}(\\d+)-`).exec(name)?.[1]
    if (owner !== undefined && !fs.existsSync(`/proc/${owner}`)) removeNow(path.join(temporary, name))
  }
}

let cleansUpAtExit = false

/** Installs the exit handlers, once: file systems that are still there go when the process goes. */
function cleanUpAtExit(): void {
  if (cleansUpAtExit) return
  cleansUpAtExit = true
  process.on('exit', removeOwn)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      removeOwn()
      process.kill(process.pid, signal)
    })
  }
}

function removeOwn(): void {
  const temporary = fs.realpathSync(os.tmpdir())
  for (const name of fs.readdirSync(temporary)) {
    if (name.startsWith(`${DIRECTORY_PREFIX}${process.pid}-`)) removeNow(path.join(temporary, name))
  }
}
