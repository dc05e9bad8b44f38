/**
 * A Samepage mount for tests: the built program, run as a user runs it, in the foreground.
 *
 * `await using` unmounts it. A mount must also end as it should: when a program still has a file open there, when the serving
 * process does not exit with 0, or when it wrote a complaint to stderr that the test did not expect, the disposal
 * throws, after everything has been cleared away all the same. What is mounted goes when the test process goes.
 *
 *     await using xfs = await loopFilesystem('xfs')
 *     await using mount = await mounted(xfs.path, { flags: { passthrough: false } })
 *     fs.readFileSync(`${mount.path}/a`)
 *
 * The tests run `dist/`; SAMEPAGE_DIST names another build.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { ask, socketPath } from '../../src/daemon/control-socket.ts'
import type { StatusReport } from '../../src/daemon/status.ts'
import { readMountInfo } from '../../src/linux/mountinfo.ts'
import { ROOT } from './sources.ts'

const run = promisify(execFile)

/** The program under test: what `samepage` is where the package is installed. */
export const PROGRAM = path.join(process.env.SAMEPAGE_DIST ?? path.join(ROOT, 'dist'), 'cli/main.js')

/** Flags of `samepage mount`, in camel case; `false` means `--no-…`, as in `{ passthrough: false, homeIdle: 1 }`. */
export interface MountFlags {
  readOnly?: true
  watch?: true
  passthrough?: false
  homes?: false
  cross?: true
  domain?: 'none' | 'uid' | 'dir'
  minShare?: number | string
  maxHomes?: number
  homeIdle?: number
  timeout?: number
  workers?: number
  spin?: number
  hangTimeout?: number
  allowOther?: true
  metrics?: string
}

export interface MountOptions {
  flags?: MountFlags
  /** Further arguments, as they are. */
  args?: string[]
  /** Where to mount: an empty directory, or the source itself. Default: a new directory that goes with the mount. */
  at?: string
  /** Who mounts; default: who runs the tests. The build must be readable for that user. */
  uid?: number
  gid?: number
  env?: NodeJS.ProcessEnv
  /** Put before the program, e.g. `['prlimit', '--nofile=1024:1024']`. */
  wrapper?: string[]
  /** Another build's `cli/main.js`. */
  program?: string
  /** The test expects the mount to complain, or not to end in order: the disposal then does not throw for that. */
  maySuffer?: true
}

/** How long a mount may take to come, or to go. */
const PATIENCE_MS = 20_000
const DIRECTORY_PREFIX = 'samepage-mnt-'

/** Mounts `source` and resolves when it is ready; rejects with what the program said where it did not mount. */
export async function mounted(source: string, options: MountOptions = {}): Promise<Mounted> {
  cleanUpAtExit()
  const at = options.at ?? newDirectory(options)
  const argv = [
    ...(options.wrapper ?? []),
    process.execPath,
    options.program ?? PROGRAM,
    'mount',
    ...argumentsOf(options.flags),
    ...(options.args ?? []),
    source,
    at,
  ]
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
    // A Ctrl-C in the terminal is for the tests, which unmount; a mount must not end under them.
    detached: true,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  const mount = new Mounted(source, fs.realpathSync(at), child, options)
  alive.add(mount)
  const deadline = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
  const ready = await mount.readyOrGone
  clearTimeout(deadline)
  if (ready) return mount
  mount.clearAway()
  throw new MountFailed(mount.stderr, child.exitCode)
}

/** The program did not mount. */
export class MountFailed extends Error {
  /** What it wrote to stderr. */
  readonly stderr: string
  readonly status: number | null

  constructor(stderr: string, status: number | null) {
    super(`samepage mount ended with status ${status}: ${stderr}`)
    this.stderr = stderr
    this.status = status
  }
}

export class Mounted implements AsyncDisposable {
  readonly source: string
  /** The mountpoint, without symlinks in it. */
  readonly path: string
  /** The supervisor. */
  readonly process: ChildProcess
  readonly readyOrGone: Promise<boolean>
  /** Settles when the supervisor has ended: its exit status, or null where a signal killed it. */
  readonly ended: Promise<number | null>
  stdout = ''
  stderr = ''
  /** The number of the FUSE connection: the mount's st_dev minor, and its directory below /sys/fs/fuse/connections. */
  connection = -1
  readonly #options: MountOptions

  constructor(source: string, at: string, child: ChildProcess, options: MountOptions) {
    this.source = source
    this.path = at
    this.process = child
    this.#options = options
    this.ended = new Promise((resolve) => {
      child.once('close', resolve)
      child.once('error', (error) => {
        this.stderr += String(error)
        resolve(null)
      })
    })
    this.readyOrGone = new Promise((resolve) => {
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        this.stdout += text
        if (!this.stdout.includes(' is mounted at ')) return
        this.connection = connectionOf(at)
        resolve(true)
      })
      void this.ended.then(() => resolve(false))
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
  }

  async status(): Promise<StatusReport> {
    if (this.#options.uid === undefined && this.#options.env === undefined) {
      const report = await ask<StatusReport>(socketPath(this.path), '/status')
      if (report === undefined) throw new Error(`nobody answers for ${this.path}`)
      return report
    }
    const { stdout } = await this.#samepage('status', '--json', this.path)
    return (JSON.parse(stdout) as StatusReport[])[0]!
  }

  /** `samepage umount`; resolves with the exit status of the mount. Rejects where it is busy. */
  async unmount(...flags: string[]): Promise<number | null> {
    await this.#samepage('umount', ...flags, this.path)
    return this.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const complaints: string[] = []
    try {
      if (this.connection >= 0 && connectionOf(this.path) === this.connection) await this.#samepage('umount', this.path)
      const status = await within(PATIENCE_MS, this.ended)
      if (status !== 0) complaints.push(`it ended with ${status === undefined ? 'nothing: it hangs' : status}`)
    } catch (error) {
      complaints.push((error as Error).message)
    }
    this.clearAway()
    await within(PATIENCE_MS, this.ended)
    if (this.stderr !== '') complaints.push(this.stderr)
    if (complaints.length > 0 && !this.#options.maySuffer)
      throw new Error(`the mount of ${this.source} did not end in order: ${complaints.join('; ')}`)
  }

  /** Whatever state it is in: nobody waits for it any more, no process of it is left, and nothing is mounted. Never throws. */
  clearAway(): void {
    alive.delete(this)
    if (this.connection >= 0 && connectionOf(this.path) === this.connection) {
      try {
        fs.writeFileSync(`/sys/fs/fuse/connections/${this.connection}/abort`, '1')
      } catch {
        // Not root, or gone meanwhile.
      }
      detach(this.path)
    }
    if (this.process.exitCode === null && this.process.signalCode === null && this.process.pid !== undefined) {
      try {
        // The group: the serving process too.
        process.kill(-this.process.pid, 'SIGKILL')
      } catch {
        // Gone meanwhile.
      }
    }
    if (this.#options.at === undefined) removeIfEmpty(this.path)
  }

  #samepage(...args: string[]): Promise<{ stdout: string; stderr: string }> {
    const { uid, gid, env } = this.#options
    return run(process.execPath, [PROGRAM, ...args], {
      env: { ...process.env, ...env },
      maxBuffer: 64 << 20,
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    })
  }
}

function argumentsOf(flags: MountFlags = {}): string[] {
  return Object.entries(flags).flatMap(([name, value]) => {
    const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    if (typeof value === 'boolean') return [value ? `--${flag}` : `--no-${flag}`]
    return [`--${flag}`, String(value)]
  })
}

function newDirectory({ uid, gid }: MountOptions): string {
  const directory = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), `${DIRECTORY_PREFIX}${process.pid}-`))
  fs.chmodSync(directory, 0o755)
  if (uid !== undefined) fs.chownSync(directory, uid, gid ?? uid)
  return directory
}

/** The minor number of what is mounted at `mountpoint`, if that is one of ours; else -1. */
function connectionOf(mountpoint: string): number {
  const found = readMountInfo().findLast((mount) => mount.mountpoint === mountpoint)
  return found?.type === 'fuse.samepage' ? Number(found.device.split(':')[1]) : -1
}

function detach(mountpoint: string): void {
  try {
    // Without looking at the path: the server may be dead or hung.
    execFileSync('umount', ['--lazy', '--no-canonicalize', mountpoint], { stdio: 'ignore' })
  } catch {
    // Gone meanwhile.
  }
}

/** Never more than an empty directory: something may still be mounted there. */
function removeIfEmpty(directory: string): void {
  try {
    fs.rmdirSync(directory)
  } catch {
    // In use, and left behind.
  }
}

/** What `promise` settles to, or undefined after `ms`. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

const alive = new Set<Mounted>()
let cleansUpAtExit = false

function cleanUpAtExit(): void {
  if (cleansUpAtExit) return
  cleansUpAtExit = true
  const clear = () => {
    for (const mount of [...alive]) mount.clearAway()
  }
  // Before the file systems below are taken down: those wait for nobody.
  process.prependListener('exit', clear)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.prependListener(signal, clear)
}
