/** One page of one clone was rewritten before anybody opened it: that page, and no other, is held once more. Exact, in pages. */
import path from 'node:path'
import { forgetFile } from '../../src/demo/reading.ts'
import { APART, add, type Bench, describePinning, load, type Place, type Section, withXfs } from '../bench.ts'
import { UNIT } from '../figure.ts'
import { cloneMany, warm, writeClones } from '../files.ts'
import { homesOf, PAGE_BYTES, pagesOf } from '../held.ts'
import { openSide } from '../sides.ts'

const SIZE = 64 << 20

export const onePage: Section = {
  name: 'one-page',
  title: 'A clone of which one 4 KiB page was rewritten',
  run: (bench) =>
    withXfs(bench, 2 ** 30, async (place) => {
      await writeClones(place.source, SIZE, 0, bench.cleanup)
      cloneMany(place.source, 'rewritten', 'image', 1, 1)
      const before = load()
      const [samepage, native] = [await pagesMore(bench, 'samepage', place), await pagesMore(bench, 'native', place)]
      add(bench, {
        name: `pages held more once the clone\nof ${SIZE / PAGE_BYTES} pages has been read too`,
        unit: UNIT.PAGES,
        samples: { samepage: [samepage], native: [native] },
        targets: [{ max: 1 }],
        processors: describePinning(APART),
        load: [before, load()],
      })
    }),
}

async function pagesMore(bench: Bench, side: 'samepage' | 'native', place: Place): Promise<number> {
  const files = ['image', 'rewritten/f0']
  for (const file of files) forgetFile(path.join(place.source, file))
  const mount = await openSide(bench, side, place, APART.server)
  try {
    const held = () =>
      files.reduce((sum, file) => sum + pagesOf(path.join(place.source, file)), 0) +
      (side === 'native' ? 0 : homesOf(bench, mount.path).cachedBytes / PAGE_BYTES)
    warm(mount.path, 'image')
    const first = held()
    warm(mount.path, 'rewritten/f0')
    return held() - first
  } finally {
    mount.stop()
  }
}
