/** `samepage demo`: what Samepage is good for, shown on this machine in at most two minutes. */
import { SingleBar } from 'cli-progress'
import Table from 'cli-table3'
import { Command, InvalidArgumentError } from 'commander'
import { ask, socketPath } from '../daemon/control-socket.ts'
import type { StatusReport } from '../daemon/status.ts'
import { withCleanup } from '../demo/cleanup.ts'
import { type DemoReport, type FileTimes, type Progress, runDemo, type WayReport } from '../demo/demo.ts'
import { CannotError } from '../demo/scratch.ts'
import { formatCount, parseBytes } from '../util/human.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { shellWord } from '../util/shell.ts'
import { UserError } from '../util/user-error.ts'
import { givenPath } from './arguments.ts'
import { EXIT, formatBytes, formatSeconds } from './output.ts'
import { canRewrite } from './progress.ts'

interface DemoFlags {
  on?: string
  size?: number
  clones?: number
  seed: number
  json?: true
  keep?: true
}

const SIZE_MIN = 2 ** 20
/** Which pages are rewritten is kept in memory. */
const SIZE_MAX = 2 ** 40

export function demoCommand(): Command {
  return new Command('demo')
    .summary('show on files of its own what is saved: memory, reads from the device, time')
    .description(
      `Makes an image and 16 reflink clones of it, 8 of which have 1% of their pages rewritten; reads them all natively
and then through Samepage, cold and hot; compares every byte with what was written; removes everything again.

As root it makes an XFS of its own for that, in a file. Else it looks for a directory with reflinks (XFS, btrfs).
The figures are those of the whole machine: let it be quiet for the two minutes.`,
    )
    .option('--on <dir>', 'work in this directory instead of on a file system of its own', givenPath)
    .option('--size <size>', 'of the image (default: 512MiB, less where 17 of them do not fit into memory)', size)
    .option('--clones <count>', 'clones, every second one rewritten in part (default: 16)', clones)
    .option('--seed <number>', 'other bytes, other pages rewritten', wholeNumber, 1)
    .option('--keep', 'leave the files where they are, to try things with them')
    .option('--json', 'for programs: all figures, in bytes and seconds')
    .addHelpText(
      'after',
      `
Examples:
  sudo samepage demo
  samepage demo --on /srv/images --size 128MiB    in a directory on XFS or btrfs, root or not

Exit status: 0 shown, every byte right · 1 not possible here, or a byte was wrong · 2 wrong use.`,
    )
    .action(async (flags: DemoFlags) => {
      process.exitCode = await demo(flags)
    })
}

async function demo(flags: DemoFlags): Promise<number> {
  const bars = new Bars()
  const report = await withCleanup(
    (cleanup) =>
      runDemo(
        {
          ...(flags.on === undefined ? {} : { on: flags.on }),
          ...(flags.size === undefined ? {} : { size: flags.size }),
          ...(flags.clones === undefined ? {} : { clones: flags.clones }),
          seed: flags.seed,
          keep: flags.keep === true,
          program: [process.execPath, ...process.execArgv, process.argv[1] as string],
          progress: bars,
          whileMounted: ({ ground }) => ask<StatusReport>(socketPath(ground.mountpoint), '/status'),
        },
        cleanup,
      ),
    () => {
      bars.end()
      process.stderr.write('\nsamepage: interrupted; removing everything\n')
    },
  ).catch((error: unknown) => {
    bars.end()
    throw error instanceof CannotError ? new UserError(error.message) : error
  })
  const notes = [...report.notes, ...notesOn(report.whileMounted as StatusReport | undefined)]
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...report, notes }, null, 2)}\n`)
  else process.stdout.write(describe(report, notes))
  return report.wrongFiles.length === 0 ? EXIT.OK : EXIT.FAILED
}

/** What this machine, or this user, cannot have. */
function notesOn(mount: StatusReport | undefined): string[] {
  const notes: string[] = []
  if (mount?.sharing.possible === false) notes.push(`No sharing: ${mount.sharing.reason.replace(/\.$/, '')}.`)
  if (mount?.passthrough === false)
    notes.push('No passthrough (it needs root and Linux 6.9): all reads go through the daemon, which costs time.')
  return notes
}

function describe(report: DemoReport, notes: readonly string[]): string {
  const { set, ground, native, samepage } = report
  const what = ground.clones ? 'reflink clones' : 'copies'
  const diverged = native.files.filter(({ kind }) => kind === 'diverged').length
  const intro = [
    `An image of ${formatBytes(set.size)} and ${set.clones} ${what} of it, ${diverged} of them with ${set.rewritten * 100}% of their pages rewritten:`,
    `${formatBytes(set.totalBytes)} in ${set.files} files, of which ${formatBytes(ground.clones ? set.uniqueBytes : set.totalBytes)} are unique. On ${ground.description}; made cold ${ground.howCold}.`,
  ]
  const table = new Table({
    head: ['', 'natively', 'through Samepage', ''],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'right', 'right', 'right'],
  })
  const memory = (way: WayReport) => way.held.pageCache + way.held.daemon
  table.push(
    row('memory held', memory(native), memory(samepage), formatBytes, 'less'),
    ['  of that the daemon', '', formatBytes(samepage.held.daemon), ''],
    ...(native.deviceBytes === null || samepage.deviceBytes === null
      ? []
      : [row('read from the device', native.deviceBytes, samepage.deviceBytes, formatBytes, 'less')]),
    row('cold, all files', native.coldSeconds, samepage.coldSeconds, formatSeconds, 'faster'),
    ...kindRows(native, samepage, 'coldSeconds'),
    row('hot, all files', native.hotSeconds, samepage.hotSeconds, formatSeconds, 'faster'),
    ...kindRows(native, samepage, 'hotSeconds'),
  )
  const { wrongFiles } = report
  const outcome = [
    ...notes,
    wrongFiles.length === 0
      ? `All ${formatCount(report.verifiedBytes)} bytes read through Samepage are as they were written.`
      : `WRONG BYTES were read through Samepage in: ${wrongFiles.join(', ')}. Please report this.`,
  ]
  if (report.kept !== null)
    outcome.push(
      `The files are in ${report.kept.directory}. Try: samepage mount ${shellWord(report.kept.directory)} SOME_EMPTY_DIRECTORY`,
      `This removes them: ${report.kept.removal}`,
    )
  return `${intro.join('\n')}\n${table.toString()}\n${outcome.join('\n')}\n`
}

function kindRows(native: WayReport, samepage: WayReport, time: 'coldSeconds' | 'hotSeconds'): string[][] {
  const median = ({ files }: WayReport, kind: FileTimes['kind']): number => {
    const sorted = files.filter((file) => file.kind === kind).map((file) => file[time])
    return sorted.sort((a, b) => a - b)[sorted.length >> 1] ?? Number.NaN
  }
  return (['image', 'pristine', 'diverged'] as const)
    .filter((kind) => native.files.some((file) => file.kind === kind))
    .map((kind) => {
      const name = { image: '  the image', pristine: '  a clone like it', diverged: '  a clone rewritten in part' }[
        kind
      ]
      return row(name, median(native, kind), median(samepage, kind), formatSeconds, 'faster')
    })
}

function row(
  name: string,
  native: number,
  samepage: number,
  format: (value: number) => string,
  better: string,
): string[] {
  const factor = native / samepage
  return [name, format(native), format(samepage), compared(factor, better)]
}

function compared(factor: number, better: string): string {
  if (Math.abs(factor - 1) < 0.05) return 'the same'
  // One of the two holds, or took, nothing.
  if (factor === 0 || !Number.isFinite(factor)) return ''
  return factor > 1 ? `${formatFactor(factor)} x ${better}` : `${formatFactor(1 / factor)} x ${OPPOSITE[better]}`
}

const OPPOSITE: Record<string, string> = { less: 'more', faster: 'slower' }

const formatFactor = (factor: number): string => factor.toFixed(factor >= 10 ? 0 : 1)

/** A progress bar per step on a terminal; a line per step elsewhere. On stderr, so that output can be piped. */
class Bars implements Progress {
  #bar: SingleBar | undefined
  #what = ''
  #bytes = 0
  #began = 0

  begin(what: string, bytes: number): void {
    this.#what = what
    this.#bytes = bytes
    this.#began = performance.now()
    if (!canRewrite(process.stderr)) return
    this.#bar = new SingleBar({
      format: '{what} {bar} {percentage}%  {done}  {duration_formatted}',
      stream: process.stderr,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      hideCursor: true,
      gracefulExit: false,
    })
    this.#bar.start(bytes, 0, { what: what.padEnd(23), done: '' })
  }

  add(bytes: number): void {
    this.#bar?.increment(bytes)
  }

  end(): void {
    if (this.#what === '') return
    if (this.#bar === undefined) {
      const seconds = (performance.now() - this.#began) / 1000
      process.stderr.write(`${this.#what}: ${formatBytes(this.#bytes)} in ${formatSeconds(seconds)}\n`)
    }
    this.#bar?.stop()
    this.#bar = undefined
    this.#what = ''
  }
}

function size(text: string): number {
  const value = parseBytes(text)
  if (value === undefined || value < SIZE_MIN || value > SIZE_MAX)
    throw new InvalidArgumentError('Write a size from 1MiB to 1TiB, like 128MiB.')
  return Math.ceil(value / PAGE_BYTES) * PAGE_BYTES
}

function clones(text: string): number {
  const value = wholeNumber(text)
  if (value < 1 || value > 1000) throw new InvalidArgumentError('From 1 to 1000.')
  return value
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Write a whole number.')
  return Number(text)
}
