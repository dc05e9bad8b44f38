/** What `samepage dedupe` does: looks where it may, shows progress, prints. */

import { type DedupeProgress, type DedupeResult, dedupe, MemoryShortError } from '../dedupe/dedupe.ts'
import { whyRefused } from '../dedupe/refused.ts'
import { printableName } from '../inspect/names.ts'
import { errnoName, SystemError } from '../linux/errors.ts'
import { formatBytes } from '../util/human.ts'
import { UserError } from '../util/user-error.ts'
import { failure, type Refused, toJson, toText } from './dedupe-text.ts'
import { describeError, EXIT } from './output.ts'
import { type Progress, progress } from './progress.ts'

export interface DedupeFlags {
  apply?: true
  /** Bytes. */
  minRun: number
  domain: 'none' | 'uid' | 'dir'
  xdev?: true
  include?: string[]
  exclude?: string[]
  /** Bytes. */
  memory: number
  json?: true
}

const PROGRESS_INTERVAL_MS = 100

/** Runs the command; sets process.exitCode. */
export async function dedupePaths(paths: string[], flags: DedupeFlags): Promise<void> {
  const started = performance.now()
  let hasFailed = false
  const complain = (path: string, why: string) => {
    process.stderr.write(`samepage: ${printableName(path)}: ${why}\n`)
    hasFailed = true
  }
  const refused: Refused[] = []
  const usable = paths.filter((path) => {
    const refusal = whyNot(path)
    if (refusal === undefined) return true
    refused.push(refusal)
    complain(path, refusal.why)
    return false
  })
  if (usable.length === 0 && !flags.json) {
    process.exitCode = EXIT.FAILED
    return
  }
  let isInterrupted = false
  const interrupt = () => {
    isInterrupted = true
  }
  const shown = new ShownProgress((phase) => {
    // Before anything is shared there is nothing to tell: then Ctrl-C simply ends the process. Afterwards, too, while the next file system is read.
    if (phase !== 'sharing') return
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
    process.on('SIGINT', interrupt)
    process.on('SIGTERM', interrupt)
  })
  let result: DedupeResult
  try {
    result = await dedupe({
      paths: usable,
      xdev: flags.xdev === true,
      include: flags.include ?? [],
      exclude: flags.exclude ?? [],
      minRun: flags.minRun,
      domain: flags.domain,
      isApplied: flags.apply === true,
      memory: flags.memory,
      isInterrupted: () => isInterrupted,
      onProgress: (progress) => shown.update(progress),
    })
  } catch (error) {
    if (!(error instanceof MemoryShortError)) throw error
    throw new UserError(
      `comparing ${formatBytes(error.stored)} needs ${formatBytes(error.needed)} of memory: give --memory ${Math.ceil(error.needed / 2 ** 20)}MiB, or fewer paths`,
    )
  } finally {
    shown.stop()
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
  const facts = { paths, flags, refused, result, seconds: (performance.now() - started) / 1000 }
  process.stdout.write(flags.json ? `${JSON.stringify(toJson(facts), null, 2)}\n` : toText(facts))
  for (const { path, errno } of result.failed) complain(path, describeError(errnoName(errno)))
  for (const { path, error, bytes } of result.applied?.failures ?? [])
    complain(path, `${describeError(error)} (${error}): ${formatBytes(bytes)} of this and others could not be shared`)
  process.exitCode = result.applied?.isInterrupted ? EXIT.INTERRUPTED : hasFailed ? EXIT.FAILED : EXIT.OK
}

/** Why nothing below `path` can be shared, if that is so. */
function whyNot(path: string): Refused | undefined {
  try {
    const why = whyRefused(path)
    return why === undefined ? undefined : { path, error: null, why }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (!(error instanceof SystemError) && code === undefined) throw error
    return failure(path, code ?? '')
  }
}

/** One line after the other, as the work goes through its phases. */
class ShownProgress {
  readonly #onPhase: (phase: DedupeProgress['phase']) => void
  #phase: DedupeProgress['phase'] | undefined
  #line: Progress | undefined
  #next_ms = 0

  constructor(onPhase: (phase: DedupeProgress['phase']) => void) {
    this.#onPhase = onPhase
  }

  update({ phase, done, total, remark }: DedupeProgress): void {
    if (phase !== this.#phase) {
      this.stop()
      this.#phase = phase
      this.#line = progress(phase, phase === 'walking' || phase === 'comparing' ? 'files' : 'bytes')
      this.#next_ms = 0
      this.#onPhase(phase)
    }
    const now = performance.now()
    if (now < this.#next_ms) return
    this.#next_ms = now + PROGRESS_INTERVAL_MS
    this.#line?.update(done, total, printableName(remark))
  }

  stop(): void {
    this.#line?.stop()
    this.#line = undefined
  }
}
