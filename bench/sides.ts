/** The ways to reach the same files: where they lie, through Samepage, through bindfs. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '../src/demo/cleanup.ts'
import { startMount } from '../src/demo/mount-process.ts'
import { unmountWhenFree } from '../src/demo/scratch.ts'
import { readMountInfo } from '../src/linux/mountinfo.ts'
import { type Bench, compare, describePinning, type Pinning, type Place } from './bench.ts'
import { runClient, timeProgram } from './client.ts'
import type { Side, Target, UNIT } from './figure.ts'
import { EXERCISE } from './files.ts'

/** The ways in which bindfs is run. With its locks forwarded it hears of each close(2), as a mount of Samepage that can be written does;
 * it asks for several threads then. */
const BINDFS_OPTIONS = {
  bindfs: [],
  'bindfs --multithreaded': ['--multithreaded'],
  'bindfs --enable-lock-forwarding': ['--multithreaded', '--enable-lock-forwarding'],
} as const satisfies Partial<Record<Side, readonly string[]>>

export interface SideMount {
  /** Where the files are seen. */
  readonly path: string
  /** Memory of the server, in bytes. */
  memory(): number
  stop(): void
}

/**
 * Mounts the files of `place` for one measurement: fresh, so that nothing is known of it. `processors`: those of the server.
 * `options` of the mount command of Samepage.
 */
export async function openSide(
  bench: Bench,
  side: Side,
  place: Place,
  processors: string,
  options: readonly string[] = [],
): Promise<SideMount> {
  const mount = await mountSide(bench, side, place, processors, options)
  // A server may say that it is ready before it can answer.
  fs.statfsSync(mount.path)
  return mount
}

/** What {@link compareFreshMounts} measures. */
export interface FreshMounts {
  readonly name: string
  readonly unit: typeof UNIT.PER_SECOND | typeof UNIT.SECONDS
  readonly targets: readonly Target[]
  /** Another peer than bindfs as it comes. */
  readonly peer?: keyof typeof BINDFS_OPTIONS
  /** Of the mount command of Samepage. */
  readonly options?: readonly string[]
  /** Before each measurement, without a mount. */
  readonly prepare?: () => Promise<unknown>
  /** `root`: where the files are seen. */
  readonly measure: (root: string) => Promise<number>
}

/** Compares Samepage, bindfs and native, each measurement through a fresh mount that has served other names. */
export function compareFreshMounts(bench: Bench, place: Place, pinning: Pinning, what: FreshMounts): Promise<void> {
  const { name, unit, targets, peer = 'bindfs', options, prepare, measure } = what
  return compare(bench, {
    name,
    unit,
    sides: ['samepage', peer, 'native'],
    targets,
    processors: describePinning(pinning),
    async measure(side) {
      await prepare?.()
      const mount = await openSide(bench, side, place, pinning.server, options)
      try {
        await exercise(mount, pinning.client)
        return await measure(mount.path)
      } finally {
        mount.stop()
      }
    },
  })
}

/** Gives the server of a mount some work of all kinds in the directory made by `writeExercise`. */
export async function exercise(mount: SideMount, processors: string): Promise<void> {
  const task = { directory: path.join(mount.path, EXERCISE.name), files: EXERCISE.files, passes: 5, pauseSeconds: 0 }
  for (const what of ['list', 'stat', 'open and close'] as const)
    await runClient('names', processors, { ...task, what })
  const tree = path.join(mount.path, EXERCISE.tree)
  for (const args of [['-size', '+1M'], []]) await timeProgram(processors, 'find', [tree, ...args])
}

async function mountSide(
  bench: Bench,
  side: Side,
  { source, outside }: Place,
  processors: string,
  options: readonly string[],
): Promise<SideMount> {
  if (side === 'native') return { path: source, memory: () => 0, stop: () => {} }
  const mountpoint = fs.mkdtempSync(path.join(outside, 'mnt-'))
  if (side === 'samepage') {
    const program = ['taskset', '--cpu-list', processors, ...bench.program]
    const mount = await startMount(program, source, mountpoint, options, bench.cleanup)
    return { path: mountpoint, memory: mount.memory, stop: mount.stop }
  }
  const flags = side in BINDFS_OPTIONS ? BINDFS_OPTIONS[side as keyof typeof BINDFS_OPTIONS] : undefined
  if (flags === undefined) throw new Error(`no mount is known as ${side}`)
  return startBindfs(bench, flags, source, mountpoint, processors)
}

async function startBindfs(
  bench: Bench,
  flags: readonly string[],
  source: string,
  mountpoint: string,
  processors: string,
): Promise<SideMount> {
  const args = ['--cpu-list', processors, 'bindfs', '-f', ...flags, source, mountpoint]
  const child = spawn('taskset', args, { stdio: 'ignore', detached: true })
  const isMounted = () => readMountInfo().some((mount) => mount.mountpoint === mountpoint)
  const stop = bench.cleanup.defer(() => {
    if (isMounted()) unmountWhenFree(mountpoint)
    else child.kill()
    waitUntil(() => !isMounted(), 5000)
  })
  for (let waited = 0; !isMounted(); waited += 10) {
    if (child.exitCode !== null || waited > 10_000) throw new Error('bindfs could not mount')
    await sleep(10)
  }
  return { path: mountpoint, memory: () => 0, stop }
}
