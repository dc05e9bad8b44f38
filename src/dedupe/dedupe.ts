/**
 * Makes equal content share storage: walks, reads, plans, and where it is asked to, has the kernel share. One file system after the other, for only files of one can share.
 *
 * Memory: about 12 bytes for each page of 4096 bytes that is stored (3 MiB for 1 GiB), 29 for each extent of each file, 100 for each file, 28 for each run that is shared.
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { PathError, WalkCounts } from '../inspect/selection.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { type Applied, applyPlan } from './apply.ts'
import { type Collected, type CollectOptions, Collector, type FileCounts } from './collect.ts'
import { leaveStored } from './plan.ts'
import { planUnlessInterrupted } from './planning.ts'
import { readPages } from './read-pages.ts'
import { BYTES_PER_STORED_PAGE, StoredPages } from './stored-pages.ts'

interface DedupeOptions extends CollectOptions {
  /** Share, and do not only say what would be. */
  isApplied: boolean
  /** Bytes for what is known of pages, at most. */
  memory: number
  /** Asked while sharing, and while reading and comparing what comes after that: is it to end now? */
  isInterrupted: () => boolean
  onProgress: (progress: DedupeProgress) => void
}

/** `total` of 0: nobody knows. */
export interface DedupeProgress {
  readonly phase: 'walking' | 'reading' | 'comparing' | 'sharing'
  readonly done: number
  readonly total: number
  readonly remark: string
}

export interface DedupeResult {
  readonly counts: Readonly<FileCounts>
  readonly walk: Readonly<WalkCounts>
  /** Why files lie elsewhere, by the kind of file system. */
  readonly elsewhere: ReadonlyMap<string, string>
  readonly leftOut: readonly { path: string; kind: string; why: string }[]
  readonly unreadable: readonly PathError[]
  readonly failed: readonly PathError[]
  /** Bytes. */
  incomparableBytes: number
  /** Each stored page once. */
  readBytes: number
  zeroBytes: number
  /** Files that could not be read to their end. */
  failedFiles: number
  /** What is planned: bytes of files that come to share, in how many runs of how many files, and bytes of the device that nobody uses then. */
  readonly plan: { bytes: number; runs: number; files: number; savedBytes: number }
  /** What was done, all file systems together; undefined for a dry run. */
  readonly applied: Applied | undefined
}

/** More memory would be needed than may be used. */
export class MemoryShortError extends Error {
  /** Bytes. */
  readonly needed: number
  readonly stored: number

  constructor(needed: number, stored: number) {
    super(`${needed} bytes of memory are needed to compare ${stored} bytes`)
    this.needed = needed
    this.stored = stored
  }
}

/**
 * Blocks the thread but for calls of `onProgress`, for breaths while reading and comparing, and between calls of the kernel that share. Throws a {@link MemoryShortError} before anything is read; problems of single
 * files are in the result.
 */
export async function dedupe(options: DedupeOptions): Promise<DedupeResult> {
  const { onProgress } = options
  const collector = new Collector(options, (done, remark) => onProgress({ phase: 'walking', done, total: 0, remark }))
  const collected = collector.run()
  const { selection } = collector
  const result: DedupeResult = {
    counts: collector.counts,
    walk: selection.counts,
    elsewhere: collector.elsewhere,
    leftOut: selection.leftOut,
    unreadable: selection.unreadablePaths,
    failed: selection.failed,
    incomparableBytes: collector.incomparableBytes,
    ...{ readBytes: 0, zeroBytes: 0, failedFiles: 0 },
    plan: { bytes: 0, runs: 0, files: 0, savedBytes: 0 },
    applied: options.isApplied ? nothing() : undefined,
  }
  const counted = collected.map((each) => ({ ...each, count: each.uses.number() }))
  for (const { count } of counted) {
    const needed = count * BYTES_PER_STORED_PAGE
    if (needed > options.memory) throw new MemoryShortError(needed, count * PAGE_BYTES)
  }
  for (const each of counted) {
    if (result.applied?.isInterrupted) break
    await dedupeFilesystem(each, options, result)
  }
  return result
}

async function dedupeFilesystem(
  { filesystem, uses, count }: Collected & { count: number },
  options: DedupeOptions,
  result: DedupeResult,
): Promise<void> {
  const progress = (phase: DedupeProgress['phase'], total: number) => (done: number) =>
    options.onProgress({ phase, done, total, remark: '' })

  // 1. Read
  const pages = new StoredPages(uses, count)
  const read = await readPages(uses, pages, {
    best: filesystem.residency,
    isInterrupted: options.isInterrupted,
    onProgress: progress('reading', count * PAGE_BYTES),
  })
  result.readBytes += read.bytes
  result.zeroBytes += read.zeroBytes
  result.failedFiles += read.failedFiles
  if (read.isInterrupted) {
    if (result.applied !== undefined) result.applied.isInterrupted = true
    return
  }

  // 2. Plan
  const compared = progress('comparing', uses.fileCount)
  let files = 0
  const plan = await planUnlessInterrupted(uses, pages, options.minRun / PAGE_BYTES, {
    isInterrupted: options.isInterrupted,
    onFile: () => compared(++files),
  })
  if (plan === undefined) {
    if (result.applied !== undefined) result.applied.isInterrupted = true
    return
  }
  const targets = new Set<number>()
  let planned = 0
  for (let run = 0; run < plan.count; run++) {
    targets.add(plan.target[run]!)
    planned += plan.pages[run]!
  }
  result.plan.bytes += planned * PAGE_BYTES
  result.plan.runs += plan.count
  result.plan.files += targets.size
  for (let run = 0; run < plan.count; run++)
    result.plan.savedBytes += leaveStored(uses, pages, plan, run, 0, plan.pages[run]!) * PAGE_BYTES
  if (result.applied === undefined) return

  // 3. Share
  pages.countUsers(uses)
  // A signal that came while that was counted.
  await breathe()
  progress('sharing', planned * PAGE_BYTES)(0)
  const applied = await applyPlan(uses, pages, plan, {
    best: filesystem.residency,
    isInterrupted: options.isInterrupted,
    onProgress: progress('sharing', planned * PAGE_BYTES),
  })
  add(result.applied, applied)
}

function nothing(): Applied {
  return {
    ...{ runs: 0, sharedBytes: 0, savedBytes: 0, differentBytes: 0, busyBytes: 0 },
    failures: [],
    isInterrupted: false,
  }
}

function add(sum: Applied, more: Applied): void {
  sum.runs += more.runs
  sum.sharedBytes += more.sharedBytes
  sum.savedBytes += more.savedBytes
  sum.differentBytes += more.differentBytes
  sum.busyBytes += more.busyBytes
  sum.failures.push(...more.failures)
  sum.isInterrupted ||= more.isInterrupted
}
