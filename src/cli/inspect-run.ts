/** What `samepage inspect` does: looks, shows progress, prints. */
import { setTimeout as sleep } from 'node:timers/promises'
import { compareContent } from '../inspect/content.ts'
import { toCsv } from '../inspect/csv.ts'
import { toHtml } from '../inspect/html.ts'
import { toJson } from '../inspect/json.ts'
import { type Measurement, measure } from '../inspect/measure.ts'
import { printableName } from '../inspect/names.ts'
import { buildReport, type Report } from '../inspect/report.ts'
import { toText } from './inspect-text.ts'
import { describeError, EXIT } from './output.ts'
import { checkPage, writePage } from './page-file.ts'
import { canRewrite, progress } from './progress.ts'

export interface InspectFlags {
  xdev?: true
  include?: string[]
  exclude?: string[]
  /** Rows in each table. */
  top: number
  sync?: true
  content?: true
  /** 0 to 1. */
  sample: number
  json?: true
  csv?: true
  /** Path of the page to write. */
  html?: string
  /** Seconds between two looks. */
  watch?: number
}

/** Written at once, of outputs that may be long. */
const OUTPUT_CHARACTERS = 2 ** 16

/** Runs the command; sets process.exitCode. With `watch` it ends with the process. */
export async function inspect(paths: string[], flags: InspectFlags): Promise<void> {
  if (flags.html !== undefined) checkPage(flags.html, paths)
  for (let round = 0; ; round++) {
    const { measurement, report } = await look(paths, flags, round === 0)
    print(report, flags, round)
    if (flags.html !== undefined) writePage(flags.html, toHtml(measurement, report), paths)
    for (const { path, error } of report.failed) {
      process.stderr.write(`samepage: ${printableName(path)}: ${describeError(error)}\n`)
    }
    process.exitCode = report.failed.length === 0 ? EXIT.OK : EXIT.FAILED
    if (flags.watch === undefined) return
    await sleep(flags.watch * 1000)
  }
}

/** One look at everything, with progress on a terminal if `isShown`. */
async function look(
  paths: string[],
  flags: InspectFlags,
  isShown: boolean,
): Promise<{ measurement: Measurement; report: Report }> {
  const walking = progress('walking', 'files', isShown)
  const measurement = measure({
    paths,
    xdev: flags.xdev === true,
    include: flags.include ?? [],
    exclude: flags.exclude ?? [],
    sync: flags.sync === true,
    onProgress: (files, directory) => walking.update(files, 0, printableName(directory)),
  })
  walking.stop()
  if (!flags.content) return { measurement, report: buildReport(measurement, flags.top, null) }

  const reading = progress('reading', 'bytes', isShown)
  const content = await compareContent(measurement, {
    sampleShare: flags.sample,
    onProgress: (bytes, total) => reading.update(bytes, total, ''),
  })
  reading.stop()
  return { measurement, report: buildReport(measurement, flags.top, content) }
}

function print(report: Report, flags: InspectFlags, round: number): void {
  const { stdout } = process
  if (flags.json) {
    // In a stream of reports each is one line.
    writeAll(toJson(report, flags.watch === undefined ? 2 : 0))
    stdout.write('\n')
  } else if (flags.csv) writeAll(toCsv(report, round === 0))
  else {
    const text = toText(report, {
      color: stdout.isTTY === true && stdout.hasColors(),
      width: stdout.isTTY ? stdout.columns : Number.POSITIVE_INFINITY,
    })
    stdout.write(flags.watch !== undefined && canRewrite(stdout) ? asScreen(text, stdout.rows) : text)
  }
}

/** Writes many small pieces to stdout in few large ones. */
function writeAll(pieces: Iterable<string>): void {
  let text = ''
  for (const piece of pieces) {
    text += piece
    if (text.length < OUTPUT_CHARACTERS) continue
    process.stdout.write(text)
    text = ''
  }
  process.stdout.write(text)
}

/** `text` in the place of what the terminal shows, cut off at its edges. */
function asScreen(text: string, rows: number): string {
  // A terminal that does not know its size says 0.
  const lines = text.split('\n').slice(0, rows > 0 ? Math.max(1, rows - 1) : undefined)
  return `\x1b[?7l\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\n')}\x1b[J\x1b[?7h`
}
