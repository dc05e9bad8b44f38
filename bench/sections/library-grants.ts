/** Ranges that are somebody's alone: what a grant takes, from one holder to the next, and whom it slows down. */
import path from 'node:path'
import { add, repeat, type Section, withXfs } from '../bench.ts'
import { type GrantsAnswer, runClient } from '../client.ts'
import { quantileOf, spreadOf, UNIT } from '../figure.ts'
import { writePrivate } from '../files.ts'

const BOTH = '0,1'

export const libraryGrants: Section = {
  name: 'library-grants',
  title: 'The library: a page exclusively',
  run: (bench) =>
    withXfs(bench, 2 ** 29, async ({ source }) => {
      const paths: string[] = []
      for (let i = 0; i < 2; i++) paths.push(path.join(source, await writePrivate(source, 8 * 2 ** 20, bench.cleanup)))
      const task = { paths, grants: bench.quick ? 1000 : 10_000, rounds: bench.quick ? 2 : 7 }
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
        name: 'hits in other pages on another thread,\nwhile grants of this file, or another, come and go',
        unit: UNIT.PER_SECOND,
        samples: {
          samepage: answers.map(({ sameFile }) => spreadOf(sameFile).median),
          'another file': answers.map(({ anotherFile }) => spreadOf(anotherFile).median),
        },
        targets: [{ against: 'another file', min: 0.98 }],
      })
    }),
}
