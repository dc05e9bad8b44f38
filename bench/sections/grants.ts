/** Ranges that are somebody's alone: what a grant takes, from one holder to the next, and whom it slows down. */
import path from 'node:path'
import { add, type Bench, repeat, type Section, withXfs } from '../bench.ts'
import { type GrantsAnswer, runClient } from '../client.ts'
import { quantileOf, spreadOf, UNIT } from '../figure.ts'
import { writePrivate } from '../files.ts'
import { openSide } from '../sides.ts'

const BOTH = '0,1'

export const libraryGrants: Section = {
  name: 'library-grants',
  title: 'The library: a page exclusively',
  run: (bench) =>
    withXfs(bench, 2 ** 29, async ({ source }) =>
      measure(bench, await filesIn(bench, source), 'hits in other pages on another thread'),
    ),
}

export const mountGrants: Section = {
  name: 'mount-grants',
  title: 'A mount: a page exclusively, by a cache that is attached to it',
  run: (bench) =>
    withXfs(bench, 2 ** 29, async (place) => {
      const files = await filesIn(bench, place.source)
      const mount = await openSide(bench, 'samepage', place, BOTH)
      try {
        const seen = files.map((file) => path.join(mount.path, path.relative(place.source, file)))
        await measure(bench, seen, 'reads of other pages through the mount', mount.path)
      } finally {
        mount.stop()
      }
    }),
}

/** Two files that share nothing. */
async function filesIn(bench: Bench, directory: string): Promise<string[]> {
  const names = [0, 1].map(() => writePrivate(directory, 8 * 2 ** 20, bench.cleanup))
  return (await Promise.all(names)).map((name) => path.join(directory, name))
}

/** `reads`: what others do meanwhile. */
async function measure(bench: Bench, paths: readonly string[], reads: string, mountpoint?: string): Promise<void> {
  const task = {
    paths,
    grants: bench.quick ? 1000 : 10_000,
    rounds: bench.quick ? 2 : 7,
    ...(mountpoint !== undefined && { mountpoint }),
  }
  const [answers, load] = await repeat(bench, () => runClient('grants', BOTH, task))
  const figure = { processors: `client ${BOTH}`, load }
  for (const [what, times] of [
    ['granted, when nobody else wants it', ({ acquired }: GrantsAnswer) => acquired],
    ['published, when nobody else wants it', ({ published }: GrantsAnswer) => published],
    ['from one holder to the next, eight waiting', ({ handedOver }: GrantsAnswer) => handedOver],
  ] as const)
    for (const share of [0.5, 0.99])
      add(bench, {
        ...figure,
        name: `${what}: p${share * 100}`,
        unit: UNIT.NANOSECONDS,
        samples: { samepage: answers.map((answer) => quantileOf(times(answer), share)) },
        targets: [],
      })
  add(bench, {
    ...figure,
    name: `${reads},\nwhile grants of this file, or another, come and go`,
    unit: UNIT.PER_SECOND,
    samples: {
      samepage: answers.map(({ sameFile }) => spreadOf(sameFile).median),
      'another file': answers.map(({ anotherFile }) => spreadOf(anotherFile).median),
    },
    targets: [{ against: 'another file', min: 0.98 }],
  })
}
