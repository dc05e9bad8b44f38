/** `samepage doctor`: what will work on this machine, and how to get the rest. */
import { styleText } from 'node:util'
import { Command } from 'commander'
import { printableName } from '../inspect/names.ts'
import { version } from '../util/version.ts'
import { givenPath } from './arguments.ts'
import { type Finding, STATE, type State } from './doctor/finding.ts'
import { examineMachine } from './doctor/machine.ts'
import { examinePlace, type Place } from './doctor/place.ts'
import { type JsonHead, jsonHead } from './json.ts'
import { EXIT } from './output.ts'

/** The answer to `samepage doctor --json`, schema 1. */
export interface DoctorReport extends JsonHead {
  readonly schema: 1
  readonly version: string
  /** Nothing that sharing memory needs is missing. */
  readonly ready: boolean
  /** The directory that was examined; null: none was. */
  readonly path: string | null
  /** Of the machine. */
  readonly machine: readonly Finding[]
  /** Of `path`. */
  readonly place: readonly Finding[]
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('tell what will work here, and how to get the rest')
    .description(
      `Looks at the kernel, FUSE, this user's privileges and, given PATH, at its file system. Nothing is guessed that can be
tried: a mount is made and ended, a hidden clone is made in PATH, compared and dropped. Nothing is left behind.`,
    )
    .argument('[path]', 'directory whose clones are to share memory; default: only the machine is examined', givenPath)
    .option('--json', 'for programs; documented in docs/OPERATIONS.md')
    .addHelpText(
      'after',
      `
  ok        works
  limited   Samepage works without it, but not as well, or not for everybody
  missing   sharing memory needs it

Exit status: 0 all that sharing memory needs works · 1 something is missing · 2 wrong use.`,
    )
    .action(async (argument: string | undefined, flags: { json?: true }) => {
      const report = await examine(argument)
      process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : describe(report))
      process.exitCode = report.ready ? EXIT.OK : EXIT.FAILED
    })
}

async function examine(argument: string | undefined): Promise<DoctorReport> {
  const place: Place | undefined = argument === undefined ? undefined : await examinePlace(argument)
  try {
    const machine = await examineMachine(place?.sampleFd)
    const all = [...machine, ...(place?.findings ?? [])]
    return {
      ...jsonHead('doctor', 1),
      schema: 1,
      version,
      ready: all.every(({ state }) => state !== STATE.MISSING),
      path: place?.path ?? null,
      machine,
      place: place?.findings ?? [],
    }
  } finally {
    await place?.close()
  }
}

const COLOUR = { ok: 'green', limited: 'yellow', missing: 'red' } as const satisfies Record<State, string>
const STATE_WIDTH = Math.max(...Object.values(STATE).map((state) => state.length))

function describe(report: DoctorReport): string {
  const { stdout } = process
  const width = Math.max(...[...report.machine, ...report.place].map(({ what }) => what.length))
  const paint =
    stdout.isTTY && stdout.hasColors()
      ? (style: Parameters<typeof styleText>[0], text: string) => styleText(style, text)
      : (_: unknown, text: string) => text
  const indent = ' '.repeat(2 + STATE_WIDTH + 2 + width + 2)
  const textWidth = Math.max(40, (stdout.columns ?? 120) - indent.length)
  const section = (title: string, findings: readonly Finding[]) => [
    paint('bold', title),
    ...findings.flatMap(({ what, state, means, remedy }) => {
      const [first = '', ...rest] = wrap(means, textWidth)
      const help = remedy === undefined ? [] : wrap(`→ ${remedy}`, textWidth)
      return [
        `  ${paint(COLOUR[state], state.padEnd(STATE_WIDTH))}  ${what.padEnd(width)}  ${first}`,
        ...[...rest, ...help].map((line) => indent + line),
      ]
    }),
    '',
  ]
  const lines = section('This machine', report.machine)
  if (report.path !== null) lines.push(...section(printableName(report.path), report.place))
  lines.push(verdict(report))
  return `${lines.join('\n')}\n`
}

function verdict({ ready, path, machine, place }: DoctorReport): string {
  const missing = [...machine, ...place].filter(({ state }) => state === STATE.MISSING).map(({ what }) => what)
  if (!ready) return `Files cannot share memory here, because of: ${missing.join(', ')}.`
  return path === null
    ? 'This machine has what sharing memory needs. Name a directory to see whether its file system does.'
    : 'Files here can share memory.'
}

/** Breaks a text between words into lines of at most `width`; a word longer than that stays whole. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  lines.push(line)
  return lines
}
