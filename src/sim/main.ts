/**
 * Runs simulations: `npm run sim -- --seed 7` replays one, `--from 1 --count 5000` looks for a seed that fails; `--cache`: of the page cache,
 * else of the proof of equality. Prints what happened; exits with 1 at the first failure.
 */
import { parseArgs } from 'node:util'
import { type CacheOutcome, simulateCache } from './cache/simulate.ts'
import { compareWays } from './numa/compare.ts'
import { type Outcome, simulate } from './simulate.ts'

const { values } = parseArgs({
  options: {
    cache: { type: 'boolean', default: false },
    numa: { type: 'boolean', default: false },
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    count: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: 'Infinity' },
  },
})
const first = Number(values.seed ?? values.from)
const count = values.seed === undefined ? Number(values.count) : 1
const deadline = performance.now() + Number(values.seconds) * 1000

try {
  if (values.numa) console.log(compareWays())
  else if (values.cache) await run(simulateCache, summarizeCache)
  else await run(simulate, summarize)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}

async function run<T>(
  one: (seed: number) => T | Promise<T>,
  summary: (outcomes: readonly T[]) => string,
): Promise<void> {
  const outcomes: T[] = []
  for (let seed = first; seed < first + count && performance.now() < deadline; seed++) outcomes.push(await one(seed))
  if (values.seed === undefined) console.log(summary(outcomes))
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
