/** `samepage mount`: checks what the user asked for, mounts, and serves until unmounted. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { type ArenaOptions, MEMORY_MIN } from '../daemon/content/arena-options.ts'
import { checkNode } from '../daemon/near/node.ts'
import type { ServingStart } from '../daemon/shared-state.ts'
import { supervise } from '../daemon/supervisor.ts'
import { whyNotWatched } from '../daemon/watch.ts'
import { SplicedReply } from '../fuse/spliced-reply.ts'
import { printableName } from '../inspect/names.ts'
import { ERRNO } from '../linux/errors.ts'
import { O_DIRECTORY, O_RDONLY, open } from '../linux/file.ts'
import { ST_RDONLY, Statfs } from '../linux/statfs.ts'
import { parseBytes, parseShare } from '../util/human.ts'
import { UserError } from '../util/user-error.ts'
import { version } from '../util/version.ts'
import { givenPath } from './arguments.ts'
import { complain, endWithParent, isBackground, settle, startInBackground } from './background.ts'
import { checkDescriptorLimit, checkMount, defaultWorkers } from './mount-checks.ts'
import { formatBytes, outliveStdout, UsageError } from './output.ts'
import { notifyReady } from './systemd.ts'

interface MountFlags {
  daemon?: true
  readOnly?: true
  watch?: true
  passthrough: boolean
  homes: boolean
  cross?: true
  domain: 'none' | 'uid' | 'dir'
  consistency: 'close-to-open' | 'strict'
  diverged: 'direct' | 'cached'
  merge?: 'content'
  memory?: number
  mergeCpu?: number
  minShare: number
  minWriteShare: number
  maxHomes: number
  homeIdle: number
  timeout: number
  node?: number
  dax?: ServingStart['dax'] | 'cache'
  numa: NonNullable<ArenaOptions['numa']>
  readAhead: number
  workers: number
  spin: number
  hangTimeout: number
  allowOther?: boolean
  suid?: true
  dev?: true
  metrics?: { host: string; port: number }
  quiet?: true
}

export function mountCommand(): Command {
  return new Command('mount')
    .summary('show a directory at a mountpoint; its clones share memory')
    .description(
      `Shows SOURCE at MOUNTPOINT. Every program that reads there gets the bytes of the source; files that share extents (reflink
clones, snapshots, deduplicated files) share one copy in memory. What programs write there is in the source when the write returns. Without
MOUNTPOINT the mount is made in place, over SOURCE itself, so that no path changes.

Runs in the foreground until Ctrl-C, SIGTERM or "samepage umount"; --daemon returns when the mount is ready.`,
    )
    .argument('<source>', 'directory to show, on XFS or btrfs for sharing; on others it works without', givenPath)
    .argument('[mountpoint]', 'an empty directory; default: SOURCE itself', givenPath)
    .option('-d, --daemon', 'return when the mount is ready and serve in the background')
    .option('--read-only', 'let nobody change the source through the mount')
    .addOption(
      new Option(
        '--watch',
        'notice what is changed directly in SOURCE, below the mount, at once and not only at the next open (root; fanotify)',
      ).conflicts('cross'),
    )
    .option('--no-homes', 'never write to the source: no homes (hidden clones), so no sharing')
    .option('--no-passthrough', 'read everything through the daemon, even where the kernel could pass it through')
    .option('--cross', 'show other file systems that are mounted below SOURCE too')
    .addOption(
      new Option(
        '--domain <what>',
        'who may share memory with whom: everybody, files of one owner, or files below one top-level directory',
      )
        .choices(['none', 'uid', 'dir'])
        .default('none'),
    )
    .addOption(
      new Option(
        '--consistency <what>',
        'who has a file open when somebody else opens it for writing: keeps what he opened, and reads shared files at native speed; or sees each write, and reads them through the daemon',
      )
        .choices(['close-to-open', 'strict'])
        .default('close-to-open'),
    )
    .addOption(
      new Option(
        '--diverged <how>',
        'files that share in part: read from homes each time, or let the kernel cache a copy of each (faster, more memory)',
      )
        .choices(['direct', 'cached'])
        .default('direct'),
    )
    .addOption(
      new Option(
        '--merge <what>',
        'hold files that share no storage in memory of the daemon, in which pages with equal bytes are there once, whatever files they are of; slower than passing them through',
      ).choices(['content']),
    )
    .addOption(
      new Option(
        '--dax <how>',
        'files on DAX storage (persistent memory, CXL) that are not passed through: read from homes where they lie; the same, and what is read often from a copy in memory of the daemon, one for all clones; or with system calls, as without this option',
      ).choices(['direct', 'auto', 'cache']),
    )
    .option('--memory <size>', 'with --merge or --dax auto: what their pages and indexes may take together', bytes)
    .option(
      '--merge-cpu <share>',
      'with --merge: how much of one processor looking for equal pages may take; default: on load what it takes, and 5% for a scan of what was loaded',
      share,
    )
    .addOption(
      new Option('--min-share <size>', 'files with less shared data are served by themselves')
        .argParser(bytes)
        .default(256 << 10, '256KiB'),
    )
    .addOption(
      new Option(
        '--min-write-share <size>',
        'smaller files are passed through to themselves when they are opened for writing, and share nothing meanwhile; what larger ones share they go on sharing, through the daemon',
      )
        .argParser(bytes)
        .default(8 << 20, '8MiB'),
    )
    .option('--max-homes <count>', 'homes at once; each costs a descriptor', count, 10_000)
    .option('--home-idle <seconds>', 'drop a home that nobody used for so long', seconds, 300)
    .addOption(
      new Option(
        '--numa <how>',
        'with --merge or --dax auto, on a machine of several NUMA nodes: pages of their memory lie on the node of who reads them; read often from another node they get a replica there, or each node has its own pages of each file',
      )
        .choices(['off', 'replicate', 'inode'])
        .default('off'),
    )
    .option(
      '--node <number>',
      'serve from this NUMA node: run on its CPUs, keep shared pages in its memory (for containers and guests that are bound to it; one mount for each node)',
      count0,
    )
    .addOption(
      new Option('--read-ahead <size>', 'with --node: of each home so much is read before anybody asks for it')
        .argParser(bytes)
        .default(64 << 20, '64MiB'),
    )
    .option('--timeout <seconds>', 'how long the kernel may use names and attributes without asking again', seconds, 1)
    .option(
      '--workers <count>',
      'threads that serve requests; two more than CPUs, and four at least, if not given',
      count,
      defaultWorkers(),
    )
    .option('--spin <times>', 'how often an idle worker looks for a request before it sleeps', count0, 50)
    .option(
      '--hang-timeout <seconds>',
      'give the mount up when all workers have waited for so long; 0: never',
      seconds,
      300,
    )
    .option('--allow-other', 'let other users in (always so as root; others need user_allow_other in /etc/fuse.conf)')
    .addOption(
      new Option(
        '--suid',
        'let set-id bits and capabilities of programs count that are run from the mount, where they do in the source (root)',
      ).conflicts('cross'),
    )
    .addOption(
      new Option('--dev', 'let devices be opened in the mount, where they can be in the source (root)').conflicts(
        'cross',
      ),
    )
    .option('--metrics <address>', 'serve Prometheus metrics at http://ADDRESS/metrics, e.g. 127.0.0.1:9177', address)
    .option('-q, --quiet', 'no ready line')
    .addHelpText(
      'after',
      `
Examples:
  samepage mount /srv/images /mnt/images
  samepage mount --daemon /srv/images          in place; "samepage umount /srv/images" shows the source again
  samepage mount --domain dir /srv/tenants /mnt/tenants

Exit status: 0 unmounted in order · 1 could not mount or unmount, or serving failed · 2 wrong use.`,
    )
    .action(async (source: string, mountpoint: string | undefined, flags: MountFlags, self: Command) => {
      const memory = memoryOptions(flags)
      if (flags.node === undefined && self.getOptionValueSource('readAhead') === 'cli')
        throw new UsageError('--read-ahead says how much is read ahead on the node of --node: add that')
      const here = !flags.daemon || isBackground
      process.exitCode = here ? await mountHere(source, mountpoint, flags, memory) : await startInBackground()
    })
}

async function mountHere(
  sourceArgument: string,
  mountpointArgument: string | undefined,
  flags: MountFlags,
  memory: ReturnType<typeof memoryOptions>,
): Promise<number> {
  outliveStdout()
  checkDescriptorLimit(flags.workers)
  const { source, mountpoint } = checkMount(sourceArgument, mountpointArgument ?? sourceArgument, flags.cross === true)
  if (flags.node !== undefined) checkNode(flags.node)
  // Before the mount, which may cover it.
  const sourceFd = open(source, O_RDONLY | O_DIRECTORY)
  const writable = flags.readOnly !== true && !isReadOnly(sourceFd)
  const isRoot = process.geteuid?.() === 0
  if (flags.watch && !isRoot) throw new UserError(`--watch cannot be had: ${whyNotWatched(-ERRNO.EPERM)}`)
  for (const [option, isGiven] of [
    ['--suid', flags.suid],
    ['--dev', flags.dev],
  ] as const)
    if (isGiven && !isRoot) throw new UserError(`${option} cannot be had: only root can mount so`)
  if (isBackground) endWithParent()
  return supervise({
    sourceFd,
    allowOther: flags.allowOther ?? isRoot,
    suid: flags.suid === true,
    dev: flags.dev === true,
    start: {
      sourcePath: source,
      mountpoint,
      passthrough: flags.passthrough,
      writable,
      watch: flags.watch === true,
      homes: flags.homes,
      homesMax: flags.maxHomes,
      homeIdleMs: flags.homeIdle * 1000,
      cross: flags.cross === true,
      domain: flags.domain,
      strict: flags.consistency === 'strict',
      divergedCached: flags.diverged === 'cached',
      minShareBytes: flags.minShare,
      minWriteShareBytes: flags.minWriteShare,
      ...memory,
      timeoutSeconds: flags.timeout,
      maxReadBytes: SplicedReply.largest(1 << 20),
      workers: flags.workers,
      spins: flags.spin,
      hangMs: flags.hangTimeout * 1000,
      directoriesMax: 16_384,
      version,
      startedAtMs: Date.now(),
      ...(flags.metrics === undefined ? {} : { metrics: flags.metrics }),
      ...(flags.node === undefined ? {} : { near: { node: flags.node, aheadBytes: flags.readAhead } }),
    },
    ready({ passthrough, sharing }) {
      const how = sharing.possible
        ? `files that share at least ${formatBytes(flags.minShare)} share memory${passthrough ? '' : ', read through the daemon (no passthrough)'}`
        : `no sharing: ${sharing.reason}`
      const kind = `${sharing.fileSystem}${writable ? '' : ', read-only'}`
      if (!flags.quiet)
        process.stdout.write(
          `samepage: ${printableName(source)} is mounted at ${printableName(mountpoint)} (${kind}): ${how}\n`,
        )
      notifyReady(`serving ${mountpoint}`)
      if (isBackground) settle()
    },
    log: complain,
  })
}

/** What `--merge`, `--merge-cpu`, `--dax`, `--memory` and `--numa` say together. */
function memoryOptions(flags: MountFlags): Pick<ServingStart, 'arena' | 'merge' | 'dax'> {
  const { merge, mergeCpu, dax, memory, numa, node, diverged } = flags
  if (merge === undefined && mergeCpu !== undefined)
    throw new UsageError('--merge-cpu says what --merge may take: add it')
  if (dax === 'direct' && diverged === 'cached')
    throw new UsageError(
      '--dax direct is for no copy in main memory, --diverged cached for one of each file: choose either',
    )
  if (numa !== 'off' && node !== undefined)
    throw new UsageError('--numa serves all nodes, --node a single one: choose either')
  const mode = dax === undefined || dax === 'cache' ? {} : { dax }
  const needs = merge === undefined ? (dax === 'auto' ? '--dax auto' : undefined) : '--merge'
  if (needs === undefined) {
    if (numa !== 'off')
      throw new UsageError(
        '--numa places the memory of --merge or --dax auto, and there is none: add "--merge content --memory SIZE"; what the kernel caches is placed by --node, one mount for each node',
      )
    if (memory !== undefined) throw new UsageError('--memory says what --merge or --dax auto may take: add one of them')
    return mode
  }
  if (memory === undefined || memory < MEMORY_MIN)
    throw new UsageError(
      `${needs} needs --memory, the size of its memory, for example 2GiB, and ${formatBytes(MEMORY_MIN)} at least`,
    )
  return {
    ...mode,
    arena: { memoryBytes: memory, numa },
    ...(merge === undefined ? {} : { merge: mergeCpu === undefined ? {} : { cpu: mergeCpu } }),
  }
}

/** A source that nobody can write is shown as that. */
function isReadOnly(sourceFd: number): boolean {
  const statfs = new Statfs()
  return statfs.ofFd(sourceFd) === 0 && (statfs.flags & ST_RDONLY) !== 0
}

function bytes(text: string): number {
  const value = parseBytes(text)
  if (value === undefined) throw new InvalidArgumentError('Write a size like 256KiB, 1M or 4096.')
  return value
}

function share(text: string): number {
  const value = parseShare(text)
  if (value === undefined || value === 0) throw new InvalidArgumentError('Write a share like 5% or 0.05, up to 100%.')
  return value
}

function count(text: string): number {
  const value = count0(text)
  if (value === 0) throw new InvalidArgumentError('At least 1.')
  return value
}

function count0(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('Write a whole number.')
  return Number(text)
}

function seconds(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value < 1e9))
    throw new InvalidArgumentError('Write seconds, like 1 or 0.5.')
  return value
}

function address(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  // Nobody would be told which port 0 has become.
  if (match === null || port < 1 || port > 65_535)
    throw new InvalidArgumentError('Write HOST:PORT, like 127.0.0.1:9177.')
  return { host: match[1] ?? (match[2] === '' ? '127.0.0.1' : match[2]!), port }
}
