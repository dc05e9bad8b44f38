/** Starts load generators, each a process of its own on its own processors, and collects what they print. */
import { spawn } from 'node:child_process'
import type { Side } from './figure.ts'

/** What each client is told, and what it answers. */
export interface ClientTypes {
  read: { task: ReadTask; answer: Rate }
  map: { task: MapTask; answer: Rate }
  names: { task: NamesTask; answer: Rate }
  probe: { task: ProbeTask; answer: ProbeAnswer }
  write: { task: WriteTask; answer: Rate }
  change: { task: ChangeTask; answer: Rate }
  notice: { task: NoticeTask; answer: NoticeAnswer }
  'look-up': { task: LookUpTask; answer: Rates }
  replay: { task: ReplayTask; answer: ReplayAnswer }
  clones: { task: ClonesTask; answer: ClonesAnswer }
  scan: { task: ScanTask; answer: Rate }
  sharers: { task: SharersTask; answer: SharersAnswer }
  hits: { task: HitsTask; answer: HitsAnswer }
  merge: { task: MergeTask; answer: MergeAnswer }
  grants: { task: GrantsTask; answer: GrantsAnswer }
  'look-up-together': { task: LookUpTask; answer: Rates }
}

export interface ReadTask {
  readonly file: string
  readonly order: 'random' | 'sequential'
  readonly blockBytes: number
  /** Blocks to read. In random order none is read twice before all have been read. */
  readonly blocks: number
  /** Start when the clock says so (milliseconds since the epoch): for several clients at once. */
  readonly startAtMs?: number
}

export interface MapTask {
  readonly file: string
  /** Times that the file is mapped, and every page of it touched, in random order. */
  readonly passes: number
}

export interface NamesTask {
  readonly directory: string
  readonly what: 'stat' | 'open and close' | 'list'
  /** Files f0, f1, … in the directory; of a list, what it must count. */
  readonly files: number
  /** How many times the files are gone through, in random order; or the directory listed. */
  readonly passes: number
  /** Seconds to wait before the last pass, which alone is timed; 0: all are. */
  readonly pauseSeconds: number
}

export interface WriteTask {
  /** Is there, and at least `blockBytes` long. */
  readonly file: string
  readonly order: 'random' | 'sequential'
  readonly blockBytes: number
  /** Blocks to write, within what the file has. */
  readonly blocks: number
  /** fsync(2) after each block, or once at the end, within the time that is measured. */
  readonly sync: 'each' | 'at the end'
}

export interface ChangeTask {
  /** An empty directory; it is empty again afterwards. */
  readonly directory: string
  /** The call that is timed; what it needs is made before. */
  readonly what: 'create' | 'rename' | 'unlink'
  readonly files: number
  /** How often all is made, renamed and removed; the last time counts, when programs are warm. */
  readonly passes: number
}

export interface ProbeTask {
  /** Files f0, f1, … in the directory are asked for, one after the other, each once. */
  readonly directory: string
  readonly files: number
  readonly seconds: number
}

export interface ProbeAnswer {
  /** When each answer came (milliseconds since the epoch), and how long it took (milliseconds). */
  readonly atMs: number[]
  readonly tookMs: number[]
}

export interface NoticeTask {
  /** The same directory, directly and through the mount, with files f0, f1, … in it. */
  readonly below: string
  readonly above: string
  readonly files: number
  readonly changes: number
  /** After so long without having seen a change it fails. */
  readonly patienceMs: number
  /** Between a change that was seen and the next. */
  readonly pauseMs: number
}

export interface NoticeAnswer {
  /** From each change to when it was seen (milliseconds). */
  readonly tookMs: number[]
}

export interface LookUpTask {
  readonly pages: number
  /** In each, all sides come once. */
  readonly rounds: number
}

/** Pages that are asked for: some more often than others, or as a trace has them, several times over side by side. */
export type Accesses =
  | { readonly kind: 'zipf'; readonly pages: number; readonly count: number; readonly skew: number }
  | { readonly kind: 'trace'; readonly trace: string; readonly copies: number }

export interface ReplayTask {
  readonly side: 'samepage' | 'lru-cache'
  readonly file: string
  readonly accesses: Accesses
  /** Whether each page is copied, or looked at where it is. */
  readonly way: 'copy' | 'view'
  /** For how many pages the cache has room. */
  readonly pages: number
}

export interface ReplayAnswer {
  readonly count: number
  readonly misses: number
  readonly seconds: number
  /** Memory of the process in the end, all in. */
  readonly residentBytes: number
}

export interface ClonesTask {
  readonly side: 'samepage' | 'native'
  readonly files: readonly string[]
}

export interface ClonesAnswer {
  readonly seconds: number
  /** What all files took compared with the first: memory of the process and of the kernel for these files; */
  readonly timesMemory: number
  /** pages and indexes, as the cache counts them. */
  readonly timesHeld: number
}

export interface ScanTask {
  readonly side: 'samepage' | 'native'
  readonly file: string
  readonly way: 'read' | 'stream'
  /** Past the kernel's cache, which the native side never goes. */
  readonly direct: boolean
}

export interface SharersTask {
  readonly sharers: number
  /** Of a file. */
  readonly pages: number
  /** Clones f0, f1, …; f0 is written to. */
  readonly directory: string
}

/** Of each page, in nanoseconds. */
export interface SharersAnswer {
  readonly evicted: readonly number[]
  readonly broken: readonly number[]
}

export interface MergeTask {
  readonly file: string
  /** Pages are merged as they are loaded, or by one pass of the scan afterwards. */
  readonly way: 'load' | 'scan'
  /** See {@link MergeOptions.cpu}; the library's own if not given. */
  readonly cpu?: number
}

export interface MergeAnswer {
  /** Pages that were saved. */
  readonly sharing: number
  /** From when all is loaded to the end of the pass. */
  readonly seconds: number
  /** Of a processor, meanwhile. */
  readonly processorSeconds: number
  /** That looking for equal pages has taken, by the clock. */
  readonly workSeconds: number
  /** Memory that merging took, for each page that it has looked at. */
  readonly bytesPerPage: number
}

export interface GrantsTask {
  /** A mountpoint that the cache is attached to: who reads besides reads through it. Otherwise a cache of its own, which the reader hits. */
  readonly mountpoint?: string
  /** Two files: of the first grants are measured, the other one is there to compare with. */
  readonly paths: readonly string[]
  readonly grants: number
  readonly rounds: number
}

export interface GrantsAnswer {
  /** Nanoseconds each. */
  readonly acquired: readonly number[]
  readonly published: readonly number[]
  readonly handedOver: readonly number[]
  /** Reads of a page a second, by round. */
  readonly sameFile: readonly number[]
  readonly anotherFile: readonly number[]
}

export interface HitsTask {
  readonly file: string
  readonly rounds: number
}

export interface HitsAnswer {
  readonly copied: Rates
  readonly viewed: Rates
  /** Bytes. */
  readonly garbagePerHit: number
}

/** Of several sides, measured by one client in turns. */
export type Rates = Partial<Record<Side, Rate>>

export interface Rate {
  readonly count: number
  readonly seconds: number
}

export function runClient<Kind extends keyof ClientTypes>(
  kind: Kind,
  processors: string,
  task: ClientTypes[Kind]['task'],
): Promise<ClientTypes[Kind]['answer']> {
  const script = new URL(`./clients/${kind}.js`, import.meta.url).pathname
  const args = ['--cpu-list', processors, process.execPath, script, JSON.stringify(task)]
  const child = spawn('taskset', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => {
      if (status === 0) resolve(JSON.parse(output) as ClientTypes[Kind]['answer'])
      else reject(new Error(`the client '${kind}' failed with status ${status}: ${JSON.stringify(task)}`))
    })
  })
}

/** What clients measured of several sides, one each repetition, as samples of a figure in 1/s. */
export function samplesOf(all: readonly Rates[]): Partial<Record<Side, number[]>> {
  const sides = Object.keys(all[0] ?? {}) as Side[]
  return Object.fromEntries(sides.map((side) => [side, all.map((rates) => perSecond(rates[side]!))]))
}

export const perSecond = ({ count, seconds }: Rate): number => count / seconds

/** Seconds that a program takes; what it prints is dropped. */
export function timeProgram(processors: string, program: string, args: readonly string[]): Promise<number> {
  const began = performance.now()
  const child = spawn('taskset', ['--cpu-list', processors, program, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => {
      if (status === 0) resolve((performance.now() - began) / 1000)
      else reject(new Error(`${program} ended with status ${status}`))
    })
  })
}
