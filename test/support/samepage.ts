/** The built program as somebody at a shell uses it: its arguments, its output, its exit status, and what it leaves behind. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { controlSocket } from '../../src/daemon/control-socket.ts'
import { readMountInfo } from '../../src/linux/mountinfo.ts'
import { eventually } from './eventually.ts'
import { PROGRAM } from './mounted.ts'

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  readonly uid?: number
  readonly gid?: number
  /** Put before the program, e.g. `['setpriv', '--reuid=1000']`. */
  readonly wrapper?: readonly string[]
}

/** A command that takes longer is killed: its status is null then. */
const PATIENCE_MS = 60_000

/** Runs `samepage ARGS…` and waits until it has ended, and everybody has closed its output. */
export function samepage(args: readonly string[], options: RunOptions = {}): Outcome {
  const { wrapper = [], env, ...rest } = options
  const [program = '', ...all] = [...wrapper, process.execPath, PROGRAM, ...args]
  const { status, stdout, stderr } = spawnSync(program, all, {
    encoding: 'utf8',
    timeout: PATIENCE_MS,
    maxBuffer: 64 << 20,
    env: { ...process.env, ...env },
    ...rest,
  })
  return { status, stdout, stderr }
}

/** The same in a shell, where `how` has the command as `"$@"`, with what becomes of its output. */
export const samepageInShell = (args: readonly string[], how: string): Outcome =>
  samepage(args, { wrapper: ['bash', '-c', `set -o pipefail; ${how}`, 'bash'] })

/** What is mounted at `mountpoint`, the last on top. */
export function mountsAt(mountpoint: string): string[] {
  return readMountInfo()
    .filter((mount) => mount.mountpoint === mountpoint)
    .map(({ type }) => type)
}

/** Process ids of Samepage's processes that have `text` in their command line. */
export function processesWith(text: string): number[] {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const line = commandLine(pid)
      return line.includes('dist/') && line.includes(text)
    })
    .map(Number)
}

/** Waits until no process serves `directory` any more. A killed one takes a moment to end. */
export async function expectNoProcess(directory: string): Promise<void> {
  await eventually(() => {
    const left = processesWith(directory)
    if (left.length > 0) throw new Error(`still there: ${left.map((pid) => `${pid} ${commandLine(String(pid))}`)}`)
  })
}

function commandLine(pid: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}

/** The control sockets of mounts at `mountpoint`, made by root. */
export function controlSockets(mountpoint: string): string[] {
  const { dir, base } = path.parse(controlSocket(mountpoint, 0, ''))
  const hash = base.split('.')[0]!
  return fs.existsSync(dir) ? fs.readdirSync(dir).filter((name) => name.startsWith(hash)) : []
}
