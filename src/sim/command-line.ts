/** What `npm run sim` can be asked for. */
import { Command, InvalidArgumentError, Option } from 'commander'

export interface SimFlags {
  readonly cache?: true
  readonly recall?: true
  readonly numa?: true
  readonly seed?: number
  readonly from: number
  readonly count: number
  readonly seconds?: number
}

/** Throws a CommanderError where the simulation is not to run: for --help with exitCode 0, else for what makes no sense, which has been said. */
export function parseCommandLine(args: readonly string[]): SimFlags {
  return new Command('npm run sim --')
    .description('Runs deterministic simulations of the proof of equality, until a seed fails.')
    .addOption(new Option('--cache', 'of the page cache and its readers instead').conflicts(['recall', 'numa']))
    .addOption(
      new Option('--recall', 'of grants of a mount, and of caches that are attached to it, instead').conflicts('numa'),
    )
    .addOption(
      new Option('--numa', 'no simulation: what the ways to near memory gain, priced with published latencies'),
    )
    .addOption(
      new Option('--seed <n>', 'this one only, and all that came of it')
        .argParser(whole)
        .conflicts(['from', 'count', 'seconds']),
    )
    .option('--from <n>', 'the first seed', whole, 1)
    .option('--count <n>', 'so many seeds', atLeastOne, 1000)
    .option('--seconds <n>', 'end after so long; default: never', atLeastOne)
    .allowExcessArguments(false)
    .exitOverride()
    .parse(args, { from: 'user' })
    .opts<SimFlags>()
}

function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Write a whole number.')
  return Number(text)
}

function atLeastOne(text: string): number {
  const value = whole(text)
  if (value === 0) throw new InvalidArgumentError('At least 1.')
  return value
}
