/** `samepage exclusive`: runs a command that has a range of a file alone, and publishes what it made of it. */
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type GrantClient, GrantError, type MountGrant } from '../exclusive/grant-client.ts'
import { connectToGrants, showFile } from '../exclusive/grant-socket.ts'
import type { Range } from '../exclusive/messages.ts'
import { deviceOf, grantSockets, samepageMount } from '../exclusive/mounts.ts'
import { printableName } from '../inspect/names.ts'
import { parseBytes, parseSeconds } from '../util/human.ts'
import { ENDING_SIGNALS } from '../util/signals.ts'
import { UserError } from '../util/user-error.ts'
import { givenPath } from './arguments.ts'

/** However short a time somebody waits: the mount's thread for grants may have to start. */
const CONNECT_MS_MIN = 1000
const CONNECT_MS_MAX = 10_000

/** Exit statuses, beside that of the command, and those of all commands of ours. Numbers that timeout(1) and shells use mean here what they mean there. */
const STATUS = {
  DEADLOCK: 120,
  STALE: 121,
  BUSY: 122,
  TAKEN: 123,
  TIMED_OUT: 124,
  FAILED: 125,
  CANNOT_RUN: 126,
  NOT_FOUND: 127,
  SIGNAL: 128,
} as const

const STATUS_OF: Record<string, number> = {
  EAGAIN: STATUS.TAKEN,
  ETIMEDOUT: STATUS.TIMED_OUT,
  EBUSY: STATUS.BUSY,
  ESTALE: STATUS.STALE,
  EDEADLK: STATUS.DEADLOCK,
}

interface ExclusiveFlags {
  range: Range
  wait: boolean
  timeout?: number
  readers: 'wait' | 'last-published'
  sync?: true
  fd?: number
  revoke?: true
  deadline: number
}

export function exclusiveCommand(): Command {
  return new Command('exclusive')
    .summary('run a command that has a part of a file to itself')
    .description(
      `Grants COMMAND a range of FILE, which lies in a Samepage mount: until it ends, nobody else reads or writes those bytes through the mount; they wait,
in fair order. COMMAND reads the bytes as its standard input, and what it writes to its standard output, exactly as many, is published in their place when
it ends with status 0: all of it at once. With any other status nothing is changed.

With --fd N the bytes are memory that COMMAND changes in place: its descriptor N, also in SAMEPAGE_GRANT_FD.`,
    )
    .argument('<file>', 'a file in a Samepage mount, which you may read and write', givenPath)
    .argument('[command...]', 'and its arguments, after --')
    .addOption(
      new Option('--range <start-end>', 'bytes, like 0-4KiB or 1MiB-: whole pages of 4096')
        .argParser(range)
        .default({ start: 0, end: null }, 'all'),
    )
    .option('--no-wait', 'fail at once where somebody else has a part of it, or waits for it')
    .option('--timeout <time>', 'wait so long for it at most, like 500ms or 10s', time)
    .addOption(
      new Option('--readers <what>', 'what readers do meanwhile: wait, or get what was published last')
        .choices(['wait', 'last-published'])
        .default('wait'),
    )
    .option('--sync', 'what was published is on the disk when this returns')
    .option(
      '--fd <number>',
      'give COMMAND the bytes as this descriptor, from 3 on, and leave it its standard input and output',
      descriptor,
    )
    .option('--revoke', 'instead of COMMAND: take the range back from whoever has it')
    .addOption(
      new Option('--deadline <time>', 'with --revoke: let the holders finish for so long')
        .argParser(time)
        .default(5, '5s'),
    )
    .addHelpText(
      'after',
      `
Examples:
  samepage exclusive /mnt/db/table --range 8KiB-16KiB -- ./rewrite-page
  samepage exclusive /mnt/images/a.img --range 0-1MiB --fd 3 -- python3 -c 'import mmap; m = mmap.mmap(3, 0); m[:4] = b"ABCD"'
  samepage exclusive --revoke --deadline 2s /mnt/db/table

When somebody revokes it COMMAND gets SIGTERM, and what it has not published by the deadline counts for nothing.

Exit status: that of COMMAND, 128 + N where signal N killed it · 0 published (--revoke: all has been given back) · 2 wrong use
  120 would wait for itself · 121 was revoked, or the mount ended: not published · 122 somebody reads or writes the file past the daemon
  123 taken (--no-wait) · 124 --timeout is over · 125 anything else failed: not published · 126 COMMAND cannot be run · 127 there is none`,
    )
    .action(async (file: string, command: string[], flags: ExclusiveFlags, self: Command) => {
      if (flags.revoke && command.length > 0) self.error('error: with --revoke there is no command')
      if (!flags.revoke && command.length === 0) self.error('error: missing the command to run: write it after --')
      if (command[0] === '') self.error('error: the command to run is empty')
      if (!flags.revoke && self.getOptionValueSource('deadline') === 'cli')
        self.error('error: --deadline goes with --revoke: write --timeout for how long to wait')
      process.exitCode = await exclusive(file, command, flags)
    })
}

async function exclusive(file: string, command: string[], flags: ExclusiveFlags): Promise<number> {
  let client: GrantClient | undefined
  try {
    client = await connect(file, flags)
    await showFile(client, file)
    if (!flags.revoke) return await runWith(client, command, flags)
    const { taken } = await client.revoke(flags.range, flags.deadline * 1000)
    if (taken > 0) process.stderr.write(`samepage: ${taken} had to be taken: their holders did not give them back\n`)
    return 0
  } catch (error) {
    process.stderr.write(`samepage: ${printableName(`${file}: ${(error as Error).message}`)}\n`)
    return error instanceof GrantError ? (STATUS_OF[error.code] ?? STATUS.FAILED) : STATUS.FAILED
  } finally {
    client?.close()
  }
}

async function connect(file: string, { timeout }: ExclusiveFlags): Promise<GrantClient> {
  const device = deviceOf(file)
  if (samepageMount(device) === undefined) throw new UserError('lies in no Samepage mount')
  const patienceMs = timeout === undefined ? CONNECT_MS_MAX : Math.max(CONNECT_MS_MIN, timeout * 1000)
  const client = await connectToGrants(grantSockets(device), Math.min(patienceMs, CONNECT_MS_MAX))
  if (client === undefined)
    throw new UserError('its mount gives no grants: it is read-only, of an older version, or of another user')
  return client
}

/** What the command has written to its standard output. */
interface Output {
  readonly parts: Buffer[]
  bytes: number
}

async function runWith(client: GrantClient, command: string[], flags: ExclusiveFlags): Promise<number> {
  let child: ChildProcess | undefined
  let taken = false
  let revoked = false
  const terminate = () => child?.kill('SIGTERM')
  const grant = await client.want({
    range: flags.range,
    readers: flags.readers,
    wait: flags.wait,
    timeoutMs: flags.timeout === undefined ? null : flags.timeout * 1000,
    onRevoke() {
      revoked = true
      terminate()
    },
    onTaken() {
      taken = true
      terminate()
    },
  })
  // Whoever ends us means the command: what it does then decides.
  const pass = (signal: NodeJS.Signals) => void child?.kill(signal)
  for (const signal of ENDING_SIGNALS) process.on(signal, pass)
  try {
    const output: Output = { parts: [], bytes: 0 }
    child = start(command, grant, flags.fd, output)
    const status = await ended(child)
    const isStale = () => new GrantError('ESTALE', 'was revoked: nothing has been published')
    if (taken) throw isStale()
    // Whatever its status then is: it may be that of a command whose writes failed.
    if (output.bytes > grant.length)
      throw new UserError(`the command wrote more than ${grant.length} bytes: nothing has been published`)
    if (status !== 0) {
      await grant.abandon()
      // It ended by the signal that says so.
      if (revoked && status === STATUS.SIGNAL + os.constants.signals.SIGTERM) throw isStale()
      return status
    }
    if (flags.fd === undefined) fill(grant, output)
    await grant.publish(flags.sync === true)
    return 0
  } finally {
    for (const signal of ENDING_SIGNALS) process.off(signal, pass)
  }
}

/** Starts the command with the bytes. The memory is that of this grant alone: a descriptor of more would let it see what it was not granted. */
function start(command: string[], grant: MountGrant, fd: number | undefined, output: Output): ChildProcess {
  const [program = '', ...args] = command
  const memory = `/proc/self/fd/${grant.memory}`
  if (fd !== undefined) {
    const stdio: (number | 'inherit' | 'ignore')[] = ['inherit', 'inherit', 'inherit']
    while (stdio.length < fd) stdio.push('ignore')
    stdio.push(grant.memory)
    return spawn(program, args, { stdio, env: { ...process.env, SAMEPAGE_GRANT_FD: String(fd) } })
  }
  // An open file of its own, which begins at the first byte.
  const input = fs.openSync(memory, 'r')
  try {
    const child = spawn(program, args, { stdio: [input, 'pipe', 'inherit'] })
    child.stdout!.on('data', (part: Buffer) => {
      output.bytes += part.length
      output.parts.push(part)
      // More is wrong anyway. Its next writes fail, or a command that writes without end would keep everybody waiting for ever.
      if (output.bytes > grant.length) child.stdout!.destroy()
    })
    return child
  } finally {
    fs.closeSync(input)
  }
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      process.stderr.write(`samepage: ${error.message}\n`)
      resolve(error.code === 'ENOENT' ? STATUS.NOT_FOUND : STATUS.CANNOT_RUN)
    })
    child.once('close', (code, signal) => resolve(code ?? STATUS.SIGNAL + (os.constants.signals[signal!] ?? 0)))
  })
}

function fill(grant: MountGrant, { parts }: Output): void {
  const bytes = Buffer.concat(parts)
  if (bytes.length !== grant.length)
    throw new UserError(`the command wrote ${bytes.length} of ${grant.length} bytes: nothing has been published`)
  for (let done = 0; done < bytes.length; ) done += fs.writeSync(grant.memory, bytes, done, bytes.length - done, done)
}

function range(text: string): Range {
  const [from = '', to, ...more] = text.split('-')
  const start = parseBytes(from)
  const end = to === '' ? null : parseBytes(to ?? '')
  if (start === undefined || end === undefined || more.length > 0 || (end !== null && end <= start))
    throw new InvalidArgumentError(
      'Write START-END in bytes, END not included, like 4KiB-8KiB, or START- for the rest.',
    )
  return { start, end }
}

function time(text: string): number {
  const seconds = parseSeconds(text)
  if (seconds === undefined) throw new InvalidArgumentError('Write a time like 500ms, 10s or 2m.')
  return seconds
}

function descriptor(text: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number < 3 || number > 255) throw new InvalidArgumentError('Write a number from 3 to 255.')
  return number
}
