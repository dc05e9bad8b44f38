/**
 * The supervisor: owns the mount and /dev/fuse, and starts the serving process. It does no I/O on the source and answers no
 * request, so that a later serving process can take over from one that died.
 *
 * ```
 * start → mounted → ready → (SIGINT, SIGTERM, umount(8)) → unmounted → the serving process ends → exit 0
 *                      └─ the serving process dies → unmount, so that nobody hangs → exit 1
 * ```
 */
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { grantSocket, samepageMount } from '../exclusive/mounts.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { ST_NODEV, ST_NOEXEC, ST_NOSUID, Statfs } from '../linux/statfs.ts'
import { UserError } from '../util/user-error.ts'
import { controlSocket } from './control-socket.ts'
import { type MountOptions, mountFuse, unmountFuse, unmountPatiently } from './mounting.ts'
import { bindToNode } from './near/node.ts'
import type { FromServing, ServingStart } from './shared-state.ts'

export type Ready = Extract<FromServing, { type: 'ready' }>

export interface SuperviseOptions {
  /** All but what the supervisor finds out itself. */
  readonly start: Omit<ServingStart, 'fuseFd' | 'sourceFd' | 'privileged'>
  /** The source directory, open for reading. */
  readonly sourceFd: number
  readonly allowOther: boolean
  /** Set-id bits, and devices, are what they are in the source. */
  readonly suid: boolean
  readonly dev: boolean
  readonly ready: (ready: Ready) => void
  /** Takes a line about what went wrong, of the serving process's too. */
  readonly log: (line: string) => void
}

/** Descriptor numbers in the serving process: after stdin, stdout, stderr and the IPC channel. */
const CHILD_FUSE_FD = 4
const CHILD_SOURCE_FD = 5
/** How long the serving process may take to end after the unmount. */
const END_MS = 5000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Mounts and serves until unmounted. Resolves with the exit status: 0 unmounted in order, 1 the serving process failed. */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const { start, log } = options
  let state: 'starting' | 'ready' | 'unmounting' = 'starting'
  let serving: ChildProcess | undefined
  let device = ''
  let failure: string | undefined

  const unmount = async (): Promise<void> => {
    state = 'unmounting'
    // Not mounted yet: seen to below.
    if (serving === undefined) return
    await unmountPatiently(start.mountpoint, device).catch(() => {})
    if (endMount(start.mountpoint, device) === 'detached') {
      log(`${start.mountpoint} is in use: detached; programs that still have files open there get errors from now on`)
      serving.kill('SIGKILL')
    }
    setTimeout(() => serving?.kill('SIGKILL'), END_MS).unref()
  }
  // For the processes that are started from here on: this one does nothing that needs to be near.
  if (start.near !== undefined) bindToNode(start.near.node)
  // From before the mount on, so that no signal leaves it behind.
  for (const signal of SIGNALS) process.on(signal, unmount)

  const mounted = await mountFuse({
    source: start.sourcePath,
    target: start.mountpoint,
    allowOther: options.allowOther,
    writable: start.writable,
    ...withheld(options),
    maxReadBytes: start.maxReadBytes,
  })
  device = mounted.device
  serving = spawnServing(
    { ...start, fuseFd: CHILD_FUSE_FD, sourceFd: CHILD_SOURCE_FD, privileged: mounted.privileged },
    mounted.fuseFd,
    options.sourceFd,
  )
  if ((state as string) === 'unmounting') void unmount()

  createInterface({ input: serving.stderr! }).on('line', (line) => log(line.replace(/^samepage: /, '')))
  serving.on('message', (message: FromServing) => {
    if (message.type === 'failed') failure = message.message
    else if (message.type === 'ended') state = 'unmounting'
    else if (state === 'starting') {
      state = 'ready'
      options.ready(message)
    }
  })
  serving.once('error', (error) => {
    failure = `the serving process could not be started: ${error.message}`
  })
  await new Promise<void>((resolve) => serving.once('close', () => resolve()))
  for (const signal of SIGNALS) process.off(signal, unmount)
  // The last descriptor of the connection: the kernel now answers whoever still waits with an error.
  close(mounted.fuseFd)
  // Left behind where the serving process was killed.
  fs.rmSync(controlSocket(start.mountpoint, process.pid), { force: true })
  // Once it is unmounted, its number may be another mount's, who has a socket of that name.
  if ((state as string) !== 'unmounting' || samepageMount(device) === undefined)
    fs.rmSync(grantSocket(device), { force: true })
  const hasBeenUnmounted = `${start.mountpoint} has been unmounted, the source is as it was`
  const leftBehind = (error: Error) =>
    `${start.mountpoint} could not be unmounted (${error.message}) and answers nobody any more: unmount it as root (umount ${start.mountpoint})`
  // Read again: handlers have changed it.
  if ((state as string) === 'unmounting') {
    // Unmounted in order it is gone; aborted, it is still there and answers nobody.
    const ended = endMount(start.mountpoint, device)
    if (ended === 'gone') return 0
    log(ended instanceof Error ? leftBehind(ended) : `the connection was aborted; ${hasBeenUnmounted}`)
    return 1
  }
  const ended = endMount(start.mountpoint, device)
  if (ended instanceof Error) log(leftBehind(ended))
  if (failure !== undefined) throw new UserError(failure)
  log(`the serving process died${ended instanceof Error ? '' : `; ${hasBeenUnmounted}`}`)
  return 1
}

/** Unmounts our own mount, whoever has files open there. An error: it is still there. */
function endMount(mountpoint: string, device: string, lazy = false): 'unmounted' | 'detached' | 'gone' | Error {
  try {
    unmountFuse(mountpoint, lazy, device)
    return lazy ? 'detached' : 'unmounted'
  } catch (error) {
    if (isErrno(error, ERRNO.EINVAL)) return 'gone'
    return isErrno(error, ERRNO.EBUSY) && !lazy ? endMount(mountpoint, device, true) : (error as Error)
  }
}

function isErrno(error: unknown, errno: number): boolean {
  return error instanceof SystemError && error.errno === -errno
}

/** What is not run or opened natively is not run or opened through the mount; nor are programs as somebody else, nor devices at all, unless somebody asked for it. */
function withheld({ sourceFd, suid, dev }: SuperviseOptions): Pick<MountOptions, 'nosuid' | 'nodev' | 'noexec'> {
  const statfs = new Statfs()
  const flags = statfs.ofFd(sourceFd) === 0 ? statfs.flags : ST_NOSUID | ST_NODEV
  return {
    nosuid: !suid || (flags & ST_NOSUID) !== 0,
    nodev: !dev || (flags & ST_NODEV) !== 0,
    noexec: (flags & ST_NOEXEC) !== 0,
  }
}

function spawnServing(start: ServingStart, fuseFd: number, sourceFd: number): ChildProcess {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const program = fileURLToPath(new URL(`./serving-process.${extension}`, import.meta.url))
  // Extents, clones, and closing homes, which takes btrfs seconds where they have many extents, wait on these threads; two are for grants.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '10' }
  return spawn(process.execPath, ['--max-semi-space-size=2', '--expose-gc', program, JSON.stringify(start)], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc', fuseFd, sourceFd],
    env,
    // It pins nobody's directory.
    cwd: '/',
  })
}
