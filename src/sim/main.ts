/** Runs simulations: `npm run sim -- --help`. Prints what happened; exits with 1 at the first failure, with 2 where it was asked for nonsense. */
import { CommanderError } from 'commander'
import { type CacheOutcome, simulateCache } from './cache/simulate.ts'
import { parseCommandLine, type SimFlags } from './command-line.ts'
import { compareWays } from './numa/compare.ts'
import { type RecallOutcome, simulateRecall } from './recall/simulate.ts'
import { type Outcome, simulate } from './simulate.ts'

const flags = wanted()
const first = flags.seed ?? flags.from
const count = flags.seed === undefined ? flags.count : 1
const deadline = performance.now() + (flags.seconds ?? Number.POSITIVE_INFINITY) * 1000

try {
  if (flags.numa) console.log(compareWays())
  else if (flags.cache) await run(simulateCache, summarizeCache)
  else if (flags.recall) await run(simulateRecall, summarizeRecall)
  else await run(simulate, summarize)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}

function wanted(): SimFlags {
  try {
    return parseCommandLine(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    process.exit(error.exitCode === 0 ? 0 : 2)
  }
}

async function run<T>(
  one: (seed: number) => T | Promise<T>,
  summary: (outcomes: readonly T[]) => string,
): Promise<void> {
  const outcomes: T[] = []
  for (let seed = first; seed < first + count && performance.now() < deadline; seed++) outcomes.push(await one(seed))
  if (flags.seed === undefined) console.log(summary(outcomes))
  else console.dir(outcomes[0], { depth: null })
}

function summarizeCache(all: readonly CacheOutcome[]): string {
  const sum = (of: (outcome: CacheOutcome) => number) => all.reduce((total, outcome) => total + of(outcome), 0)
  return [
    `${all.length} seeds, ${sum((o) => o.moments)} moments`,
    `reads: ${sum((o) => o.hits)} hits, ${sum((o) => o.misses)} misses; ${sum((o) => o.views)} views; ${sum((o) => o.deaths)} deaths`,
    `pages: ${sum((o) => o.evicted)} evicted, ${sum((o) => o.unpublished)} not published, ${sum((o) => o.zeros)} of zeros, ${sum((o) => o.shared)} short cuts, ${sum((o) => o.merged)} merged`,
    `grants: ${sum((o) => o.grants)}, ${sum((o) => o.refusals)} refused; ${sum((o) => o.publishes)} publishes; ${sum((o) => o.past)} reads past the cache`,
    `replicas: ${sum((o) => o.replicas)} made, ${sum((o) => o.collapsed)} collapsed, ${sum((o) => o.nearLooks)} looks at them`,
    `device: ${sum((o) => o.promotions)} promoted, ${sum((o) => o.demotions)} demoted, ${sum((o) => o.directLooks)} looks at its bytes`,
  ].join('\n')
}

function summarizeRecall(all: readonly RecallOutcome[]): string {
  const sum = (of: (outcome: RecallOutcome) => number) => all.reduce((total, outcome) => total + of(outcome), 0)
  return [
    `${all.length} seeds, ${sum((o) => o.steps)} steps`,
    `caches: ${sum((o) => o.hits)} hits, ${sum((o) => o.misses)} misses, ${sum((o) => o.recalls)} recalls; ${sum((o) => o.cut)} cut off, ${sum((o) => o.deaths)} deaths`,
    `grants: ${sum((o) => o.grants)}, ${sum((o) => o.silent)} refused for silence; ${sum((o) => o.refusedRequests)} requests refused`,
    `publishes: ${sum((o) => o.publishes)}, ${sum((o) => o.noSpace)} without space, ${sum((o) => o.unheard)} refused for silence`,
  ].join('\n')
}

function summarize(all: readonly Outcome[]): string {
  const sum = (of: (outcome: Outcome) => number) => all.reduce((total, outcome) => total + of(outcome), 0)
  const reasons = new Map<string, number>()
  for (const { statistics } of all) {
    for (const [reason, times] of Object.entries(statistics.private))
      reasons.set(reason, (reasons.get(reason) ?? 0) + times)
  }
  return [
    `${all.length} seeds, ${sum((o) => o.steps)} steps`,
    `opens: ${sum((o) => o.opens.pristine)} pristine, ${sum((o) => o.opens.diverged)} diverged, ${sum((o) => o.opens.private)} private; ${sum((o) => o.opens.remembered)} by remembered decisions`,
    `units read: ${sum((o) => o.unitsRead)}, from homes ${sum((o) => o.unitsFromHomes)}`,
    `homes made ${sum((o) => o.statistics.homesMade)}, superseded ${sum((o) => o.statistics.homesSuperseded)}`,
    `private: ${[...reasons].map(([reason, times]) => `${reason} ${times}`).join(', ')}`,
  ].join('\n')
}
