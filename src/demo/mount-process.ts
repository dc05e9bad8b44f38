/** A mount by `samepage mount` in a process of its own, as a user would make it. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { readMountInfo } from '../linux/mountinfo.ts'
import { type Cleanup, waitUntil } from './cleanup.ts'
import { processBytes } from './measure.ts'
import { CannotError, detachFuse } from './scratch.ts'

const END_MS = 15_000

export interface MountProcess {
  /** Of the supervisor, whose child serves. */
  readonly pid: number
  /** Memory of all its processes, in bytes. */
  memory(): number
  /** Unmounts and waits, on this thread, until its processes have ended. */
  stop(): void
}

/**
 * Mounts `source` at `mountpoint` and waits for its ready line. `program`: how to start this program, before its arguments.
 * `options` of the mount command. Throws a {@link CannotError} with what it says when it can't. `cleanup` stops it.
 */
export async function startMount(
  program: readonly string[],
  source: string,
  mountpoint: string,
  options: readonly string[],
  cleanup: Cleanup,
): Promise<MountProcess> {
  const [command = '', ...args] = [...program, 'mount', ...options, source, mountpoint]
  // In a session of its own: Ctrl-C is for the demonstration, which ends the mount when it is done with it.
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const pid = child.pid
  if (pid === undefined) throw new CannotError(`${command} cannot be started`)
  const stop = cleanup.defer(() => stopProcess(pid, mountpoint))
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text
  })
  const isReady = await new Promise<boolean>((resolve) => {
    child.stdout.once('data', () => resolve(true))
    child.once('close', () => resolve(false))
  })
  if (!isReady) throw new CannotError(complaint.trim().replace(/^samepage: /, '') || 'the mount could not be made')
  return { pid, memory: () => processBytes(pid), stop }
}

function stopProcess(pid: number, mountpoint: string): void {
  signal(pid, 'SIGTERM')
  if (!waitUntil(() => hasEnded(pid), END_MS)) signal(pid, 'SIGKILL')
  // It was killed before it could unmount, or would not end.
  while (readMountInfo().some((mount) => mount.mountpoint === mountpoint)) detachFuse(mountpoint)
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // Ended already.
  }
}

/** Gone, or a zombie: this thread waits, so nobody collects its status meanwhile. */
function hasEnded(pid: number): boolean {
  try {
    return /^.*\) Z/s.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return true
  }
}
