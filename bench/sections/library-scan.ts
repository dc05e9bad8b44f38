/** Cold files read from one end to the other by the library: readahead keeps up with the kernel's. */
import path from 'node:path'
import { forgetFile } from '../../src/demo/reading.ts'
import { APART, compare, type Section, withXfs } from '../bench.ts'
import { perSecond, runClient } from '../client.ts'
import { UNIT } from '../figure.ts'
import { writePrivate } from '../files.ts'

export const libraryScan: Section = {
  name: 'library-scan',
  title: 'The library: a cold file read from one end to the other, 64 KiB at a time',
  run: (bench) => {
    const size = (bench.quick ? 128 : 1024) * 2 ** 20
    return withXfs(bench, 2 * size + 2 ** 29, async ({ source }) => {
      const file = path.join(source, await writePrivate(source, size, bench.cleanup))
      for (const direct of [true, false])
        for (const way of ['read', 'stream'] as const)
          await compare(bench, {
            name: `${way}, ${direct ? 'past' : 'through'} the kernel's cache`,
            unit: UNIT.BYTES_PER_SECOND,
            sides: ['samepage', 'native'],
            targets: [{ against: 'native', min: 0.9 }],
            processors: `client ${APART.client}`,
            async measure(side) {
              forgetFile(file)
              return perSecond(
                await runClient('scan', APART.client, { side: side as 'samepage' | 'native', file, way, direct }),
              )
            },
          })
    })
  },
}
