/** `samepage inspect`: what clones cost in memory today, before anything is mounted. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { parseSeconds, parseShare } from '../util/human.ts'
import { givenGlobs, givenPath, givenPaths } from './arguments.ts'
import type { InspectFlags } from './inspect-run.ts'

const INTERVAL_MIN_SECONDS = 1e-3
/** What is longer a timer of Node.js takes for no time at all. */
const TIMER_MAX_MS = 2 ** 31 - 1

export function inspectCommand(): Command {
  return new Command('inspect')
    .summary('show what clones cost in memory now')
    .description(
      'Shows how much of the page cache holds the same disk blocks more than once: in all, by directory, by group of ' +
        'clones, by file. Reads names, extents and residency only; nothing is written, read from the disk, or mounted.',
    )
    .argument(
      '<paths...>',
      'directories and files; of the trees below them symbolic links are not followed',
      givenPaths,
    )
    .option('-x, --xdev', 'stay on the file systems of PATHS (btrfs subvolumes are the same one)')
    .option('--include <glob>', 'look only at files that match; may be repeated', givenGlobs)
    .option('--exclude <glob>', 'leave out files and directories that match; may be repeated', givenGlobs)
    .option('-n, --top <count>', "rows in each table, or 'all'", parseTop, 10)
    .option('--sync', 'write dirty pages to the disk first, so that rewritten parts of clones have their place')
    .option('--content', 'also read and hash everything: how much is equal without sharing storage?')
    .addOption(
      new Option('--sample <share>', 'with --content: remember this part of the contents, as 5%, and estimate')
        .argParser(parseSample)
        .default(1, 'all')
        .implies({ content: true }),
    )
    .addOption(new Option('--json', 'print one JSON object; documented in docs/inspect.md').conflicts('csv'))
    .option('--csv', 'print one row a directory, group and file, as comma-separated values')
    .option('--html <file>', 'also write a page that shows directories as a map of areas', givenPath)
    .option('--watch <time>', 'look again and again, this far apart: 2s, 500ms, 1m', parseInterval)
    .addHelpText(
      'after',
      `
Globs go by the path below PATH (a/**/*.img), or by the name alone if they have no slash (*.img). They know * ? [a-z] ** {a,b} and
\\ before what is meant as it stands.

Examples:
  samepage inspect /srv/images
  samepage inspect --include '*.qcow2' --top 20 --html report.html /var/lib/libvirt/images
  samepage inspect --json -n all /srv | jq '.totals.duplicateBytes'
  samepage inspect --watch 2s --csv /srv/images

Exit status: 0 done, whatever was found · 1 a PATH could not be read at all · 2 wrong use.`,
    )
    .action(async (paths: string[], flags: InspectFlags) => {
      // Its libraries are of no use to other commands.
      const { inspect } = await import('./inspect-run.ts')
      await inspect(paths, flags)
    })
}

function parseTop(value: string): number {
  if (value === 'all') return Number.POSITIVE_INFINITY
  if (!/^\d+$/.test(value)) throw new InvalidArgumentError("Give a number of rows, or 'all'.")
  return Number(value)
}

function parseSample(value: string): number {
  const share = parseShare(value)
  if (share === undefined || share === 0) throw new InvalidArgumentError('Give a part of the whole, as 5% or 0.05.')
  return share
}

function parseInterval(value: string): number {
  const seconds = parseSeconds(value)
  if (seconds === undefined) throw new InvalidArgumentError('Give a time, as 2s, 500ms or 1m.')
  if (seconds < INTERVAL_MIN_SECONDS || seconds * 1000 > TIMER_MAX_MS)
    throw new InvalidArgumentError('Give a time from 1ms to 24 days.')
  return seconds
}
