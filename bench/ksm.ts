/** The kernel's own merging of equal pages, for comparison: settings, what it has done, and memory for it. Put back as it was when the benchmark ends, however it does. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cleanup } from '../src/demo/cleanup.ts'

const DIRECTORY = '/sys/kernel/mm/ksm'
const SETTINGS = ['run', 'pages_to_scan', 'sleep_millisecs'] as const
const RUN = { STOP: 0, MERGE: 1, UNMERGE: 2 } as const
/** As the kernel starts with, and as fast as it can. */
export const KSM_SPEED = {
  'KSM, default': { pagesToScan: 100, sleepMs: 20 },
  'KSM, fastest': { pagesToScan: 1_000_000, sleepMs: 0 },
} as const
/** In units of which /proc tells processor time. */
const TICKS_PER_SECOND = 100
/** KSM needs two passes; what it has not found after so many it will not find. */
const PASSES_MAX = 5
const LOOK_MS = 10

export interface KsmRun {
  readonly seconds: number
  readonly processorSeconds: number
  /** Pages that were saved. */
  readonly sharing: number
}

/** Undefined: this kernel has it. */
export const withoutKsm = fs.existsSync(DIRECTORY) ? undefined : 'this kernel has no KSM'

/** Lets the kernel merge memory with the bytes of `file`, until `sharing` pages are saved. The machine's settings are as before afterwards. */
export async function runKsm(
  speed: keyof typeof KSM_SPEED,
  file: string,
  sharing: number,
  processors: string,
  cleanup: Cleanup,
): Promise<KsmRun> {
  const before = SETTINGS.map((name) => [name, get(name)] as const)
  const restore = cleanup.defer(() => {
    // Pages that nobody else wanted to have merged.
    if (before[0]![1] === RUN.STOP) set('run', RUN.UNMERGE)
    for (const [name, value] of [...before].reverse()) set(name, value)
  })
  try {
    set('run', RUN.UNMERGE)
    set('pages_to_scan', KSM_SPEED[speed].pagesToScan)
    set('sleep_millisecs', KSM_SPEED[speed].sleepMs)
    const release = await hold(file, processors, cleanup)
    const passes = get('full_scans')
    const processorBefore = processorSeconds()
    const began = performance.now()
    set('run', RUN.MERGE)
    while (get('pages_sharing') < sharing && get('full_scans') < passes + PASSES_MAX) await sleep(LOOK_MS)
    const seconds = (performance.now() - began) / 1000
    const run = { seconds, processorSeconds: processorSeconds() - processorBefore, sharing: get('pages_sharing') }
    release()
    return run
  } finally {
    restore()
  }
}

/** Starts a process with the file's bytes in memory that can be merged; returns what ends it. */
async function hold(file: string, processors: string, cleanup: Cleanup): Promise<() => void> {
  const script = new URL('./clients/ksm.js', import.meta.url).pathname
  const args = ['--cpu-list', processors, process.execPath, script, JSON.stringify({ file })]
  const child = spawn('taskset', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const release = cleanup.defer(() => child.kill('SIGKILL'))
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve())
    child.once('error', reject)
    child.once('exit', (status) => reject(new Error(`the holder of memory for KSM ended with status ${status}`)))
  })
  return release
}

/** Of ksmd, so far. */
function processorSeconds(): number {
  const pid = fs.readdirSync('/proc').find((name) => /^\d+$/.test(name) && commandOf(name) === 'ksmd')
  // After the command's name, which may have blanks in it: state, ..., utime, stime.
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

function commandOf(pid: string): string | undefined {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    // It has ended meanwhile.
    return undefined
  }
}

function get(name: string): number {
  return Number(fs.readFileSync(`${DIRECTORY}/${name}`, 'utf8'))
}

function set(name: string, value: number): void {
  fs.writeFileSync(`${DIRECTORY}/${name}`, `${value}\n`)
}
