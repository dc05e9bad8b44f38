/**
 * The supervisor: owns the mount and /dev/fuse, and starts the serving process. It does no I/O on the source and answers no
 * request, so that a later serving process can take over from one that died.
 *
 * ```
 * start → mounted → ready → (SIGINT, SIGTERM, umount(8)) → unmounted → the serving process ends → exit 0
 *                      └─ the serving process dies → unmount, so that nobody hangs → exit 1
 * ```
 *
 * Where the mount cannot be unmounted, because another one covers it, say, it stays, dead: exit 1.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { grantSocket, samepageMount } from '../exclusive/mounts.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close } from '../linux/file.ts'
import { ST_NODEV, ST_NOEXEC, ST_NOSUID, Statfs } from '../linux/statfs.ts'
import { ENDING_SIGNALS } from '../util/signals.ts'
import { UserError } from '../util/user-error.ts'
import { controlSocket } from './control-socket.ts'
import {
  findMount,
  type MountIdentity,
  type MountOptions,
  mountFuse,
  unmountFuse,
  unmountPatiently,
} from './mounting.ts'
import { bindToNode } from './near/node.ts'
import type { FromServing, ServingStart } from './shared-state.ts'

export type Ready = Extract<FromServing, { type: 'ready' }>

export interface SuperviseOptions {
  /** All but what the supervisor finds out itself. */
  readonly start: Omit<ServingStart, 'fuseFd' | 'sourceFd' | 'privileged' | 'mount'>
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

/** Mounts and serves until unmounted. Resolves with the exit status: 0 unmounted in order, 1 the serving process failed. */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const { start, log } = options
  let state: 'starting' | 'ready' | 'unmounting' = 'starting'
  let serving: ChildProcess | undefined
  let mount: MountIdentity | undefined
  /** From then on nothing that is mounted is ours. */
  let isUnmounted = false
  let failure: string | undefined

  const unmount = async (): Promise<void> => {
    state = 'unmounting'
    // Not mounted yet: seen to below.
    if (serving === undefined || mount === undefined || isUnmounted) return
    const at = placeOf(mount, start.mountpoint)
    const ended = await unmountPatiently(mount).then(
      () => 'unmounted' as const,
      () => endMount(mount!),
    )
    if (!(ended instanceof Error)) isUnmounted = true
    if (ended === 'detached')
      log(`${at} is in use: detached; programs that still have files open there get errors from now on`)
    if (ended === 'detached' || ended instanceof Error) serving.kill('SIGKILL')
    // It ends by itself when nothing of the mount is left.
    setTimeout(() => {
      if (serving?.killed === false && serving.kill('SIGKILL'))
        log(
          `${at} is unmounted, but was still in use elsewhere (by a bind mount, or in another mount name space), or its serving process hung: what is left gives errors from now on`,
        )
    }, END_MS).unref()
  }
  // For the processes that are started from here on: this one does nothing that needs to be near.
  if (start.near !== undefined) bindToNode(start.near.node)
  // From before the mount on, so that no signal leaves it behind.
  for (const signal of ENDING_SIGNALS) process.on(signal, unmount)

  const mounted = await mountFuse({
    source: start.sourcePath,
    target: start.mountpoint,
    allowOther: options.allowOther,
    writable: start.writable,
    ...withheld(options),
    maxReadBytes: start.maxReadBytes,
  })
  mount = mounted.mount
  serving = spawnServing(
    { ...start, fuseFd: CHILD_FUSE_FD, sourceFd: CHILD_SOURCE_FD, privileged: mounted.privileged, mount },
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
  for (const signal of ENDING_SIGNALS) process.off(signal, unmount)
  // The last descriptor of the connection: the kernel now answers whoever still waits with an error.
  close(mounted.fuseFd)
  // Left behind where the serving process was killed.
  fs.rmSync(controlSocket(start.mountpoint, process.pid, mount.device), { force: true })
  // Once it is unmounted, its number may be another mount's, who has a socket of that name.
  if ((state as string) !== 'unmounting' || samepageMount(mount.device) === undefined)
    fs.rmSync(grantSocket(mount.device), { force: true })
  const at = placeOf(mount, start.mountpoint)
  const ended = isUnmounted ? 'gone' : endMount(mount)
  const outcome =
    ended instanceof Error
      ? `${at} stays mounted, and gives errors: ${ended.message}; then "samepage umount ${at}" clears it`
      : `${at} has been unmounted, the source is as it was`
  // Read again: handlers have changed it.
  if ((state as string) === 'unmounting') {
    // Unmounted in order it is gone; aborted, it is still there and answers nobody.
    if (ended === 'gone') return 0
    log(ended instanceof Error ? outcome : `the connection was aborted; ${outcome}`)
    return 1
  }
  if (failure !== undefined) throw new UserError(ended instanceof Error ? `${failure}; ${outcome}` : failure)
  log(`the serving process died; ${outcome}`)
  return 1
}

/** Where the mount is now; `made` where it is no more, or the list of mounts cannot be read: no descriptor is left. */
function placeOf(mount: MountIdentity, made: string): string {
  try {
    return findMount(mount)?.mountpoint ?? made
  } catch {
    return made
  }
}

/** Unmounts our own mount, whoever has files open there. An error: why it is still there. */
function endMount(mount: MountIdentity, lazy = false): 'unmounted' | 'detached' | 'gone' | Error {
  try {
    unmountFuse(mount, lazy)
    return lazy ? 'detached' : 'unmounted'
  } catch (error) {
    const errno = error instanceof SystemError ? -error.errno : 0
    if (errno === ERRNO.EINVAL) return 'gone'
    return errno === ERRNO.EBUSY && !lazy ? endMount(mount, true) : (error as Error)
  }
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
