/** `samepage dedupe`: makes equal content share storage, for good. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { parseBytes } from '../util/human.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { givenGlobs, givenPaths } from './arguments.ts'
import type { DedupeFlags } from './dedupe-run.ts'

export function dedupeCommand(): Command {
  return new Command('dedupe')
    .summary('make equal content share storage, so that it shares memory from then on')
    .description(
      'Finds equal content in files of one file system (XFS, btrfs), at whatever offsets, and says what would be saved if it shared storage. ' +
        'With --apply it does: the kernel compares every byte once more and lets both files use the same blocks. ' +
        'Content, times and permissions of files stay as they are. What shares storage shares memory in every later samepage mount.',
    )
    .argument(
      '<paths...>',
      'directories and files; of the trees below them symbolic links are not followed',
      givenPaths,
    )
    .option('--apply', 'share; without it nothing is changed')
    .addOption(
      new Option('--min-run <size>', 'leave shorter equal runs alone: each divides files into more pieces on the disk')
        .argParser(parseRun)
        .default(64 * 1024, '64KiB'),
    )
    .addOption(
      new Option(
        '--domain <what>',
        'whose files may share: all, those of one owner, or those below one entry of the directory given as PATH',
      )
        .choices(['none', 'uid', 'dir'])
        .default('none'),
    )
    .option('-x, --xdev', 'stay on the file systems of PATHS (btrfs subvolumes are the same one)')
    .option('--include <glob>', 'look only at files that match; may be repeated', givenGlobs)
    .option('--exclude <glob>', 'leave out files and directories that match; may be repeated', givenGlobs)
    .addOption(
      new Option('--memory <size>', 'memory for what is known of pages: 3 MiB are needed for 1 GiB of content')
        .argParser(parseSize)
        .default(2 ** 30, '1GiB'),
    )
    .option('--json', 'print one JSON object; documented in docs/dedupe.md')
    .addHelpText(
      'after',
      `
Globs go by the path below PATH (a/**/*.img), or by the name alone if they have no slash (*.img). They know * ? [a-z] ** {a,b} and
\\ before what is meant as it stands.
Ctrl-C while sharing ends it after the range at hand; what was shared stays shared, and is told.

Examples:
  samepage dedupe /srv/images                          what would be saved?
  samepage dedupe --apply /srv/images                  save it
  samepage dedupe --apply --domain uid /home           but let no two users share
  samepage dedupe --json /srv | jq .plan.savedBytes

Exit status: 0 done, whatever was found · 1 a PATH cannot be read, or cannot share, or the kernel refused some range · 2 wrong use · 130 interrupted.`,
    )
    .action(async (paths: string[], flags: DedupeFlags) => {
      // Its libraries are of no use to other commands.
      const { dedupePaths } = await import('./dedupe-run.ts')
      await dedupePaths(paths, flags)
    })
}

function parseSize(value: string): number {
  const bytes = parseBytes(value)
  if (bytes === undefined) throw new InvalidArgumentError('Give a size, as 512MiB or 4G.')
  return bytes
}

function parseRun(value: string): number {
  const bytes = parseSize(value)
  if (bytes === 0 || bytes % PAGE_BYTES !== 0)
    throw new InvalidArgumentError('Give a size of whole pages, as 4KiB or 64KiB.')
  return bytes
}
