/** A page that many share must go, or change: that takes as long for ten thousand as for one. */
import path from 'node:path'
import { APART, add, type Bench, repeat, type Section, withXfs } from '../bench.ts'
import { runClient, type SharersAnswer } from '../client.ts'
import { quantileOf, UNIT } from '../figure.ts'
import { cloneMany, writeClones } from '../files.ts'

const PAGES = 64
/** Of the time with one sharer: below this it is not flat. */
const FLAT = 0.8

export const librarySharers: Section = {
  name: 'library-sharers',
  title: 'The library: a page that many share is evicted, or one of its sharers writes to it',
  run: (bench) =>
    withXfs(bench, 4 * 2 ** 30, async ({ source }) => {
      await writeClones(source, PAGES * 4096, 0, bench.cleanup)
      for (const sharers of bench.quick ? [100] : [100, 10_000]) await measure(bench, source, sharers)
    }),
}

async function measure(bench: Bench, source: string, sharers: number): Promise<void> {
  let clones = 0
  // Fresh clones each time: of those before one has been written.
  const run = (count: number) => {
    const name = `clones-${sharers}-${clones++}`
    cloneMany(source, name, 'image', count, 0)
    return runClient('sharers', APART.client, { sharers: count, pages: PAGES, directory: path.join(source, name) })
  }
  const [answers, load] = await repeat(bench, async () => ({ one: await run(1), many: await run(sharers) }))
  for (const [what, times] of [
    ['evicting a page', ({ evicted }: SharersAnswer) => evicted],
    ['writing a page', ({ broken }: SharersAnswer) => broken],
  ] as const)
    for (const share of [0.5, 0.99])
      add(bench, {
        name: `${what} of ${sharers.toLocaleString('en-US')} sharers: p${share * 100}`,
        unit: UNIT.NANOSECONDS,
        samples: {
          samepage: answers.map(({ many }) => quantileOf(times(many), share)),
          'one sharer': answers.map(({ one }) => quantileOf(times(one), share)),
        },
        targets: [{ against: 'one sharer', min: FLAT }],
        processors: `client ${APART.client}`,
        load,
      })
}
