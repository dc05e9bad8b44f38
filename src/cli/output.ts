/** How commands speak: sizes and times for people, errors in one line with what to do. */
import { CommanderError } from 'commander'
import { printableName } from '../inspect/names.ts'
import { describeError, SystemError } from '../linux/errors.ts'
import { UserError } from '../util/user-error.ts'

export { describeError } from '../linux/errors.ts'
export { formatBytes, formatSeconds } from '../util/human.ts'

export const EXIT = { OK: 0, FAILED: 1, USAGE: 2, INTERRUPTED: 130 } as const

/** Options or arguments that do not go together. */
export class UsageError extends UserError {}

/** Prints what went wrong to stderr, in one line that drives no terminal, whatever names are in it; returns the exit status. */
export function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has printed its own message already; --help and --version are no failures.
    return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE
  }
  if (isOfSystem(error) && error.syscall === 'uv_cwd') {
    process.stderr.write('samepage: the current directory does not exist any more\n')
    return EXIT.FAILED
  }
  if (error instanceof UserError || error instanceof SystemError || isOfSystem(error)) {
    process.stderr.write(`samepage: ${printableName(error.message)}\n`)
    return error instanceof UsageError ? EXIT.USAGE : EXIT.FAILED
  }
  process.stderr.write(`samepage: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  return EXIT.FAILED
}

/** An error of Node.js's that a system call gave, which says what was called with what. */
function isOfSystem(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && 'syscall' in error
}

/** From now on the process ends when nobody takes its output, quietly if whoever read it had enough. What has to be undone is undone as the process exits. */
export function endWithStdout(): void {
  process.stdout.on('error', endFor)
  process.stderr.on('error', () => {})
}

/** Undoes {@link endWithStdout}: the process goes on where nobody hears what it says, a pipe that was closed, a disk that is full. */
export function outliveStdout(): void {
  process.stdout.off('error', endFor).on('error', () => {})
}

function endFor(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit()
  process.stderr.write(`samepage: standard output: ${describeError(error.code ?? error.message)}\n`)
  process.exit(EXIT.FAILED)
}
