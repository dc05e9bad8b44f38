/** One page of one clone was rewritten before anybody opened it: that page, and no other, is held once more. Exact, in pages. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import type { StatusReport } from '../../src/daemon/status.ts'
import { forgetFile } from '../../src/demo/reading.ts'
import { cachedPages } from '../../src/linux/cachestat.ts'
import { APART, add, type Bench, describePinning, load, type Place, type Section, withXfs } from '../bench.ts'
import { UNIT } from '../figure.ts'
import { cloneMany, warm, writeClones } from '../files.ts'
import { openSide } from '../sides.ts'

const SIZE = 64 << 20
const PAGE_BYTES = 4096

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
      (side === 'native' ? 0 : pagesOfHomes(bench, mount.path))
    warm(mount.path, 'image')
    const first = held()
    warm(mount.path, 'rewritten/f0')
    return held() - first
  } finally {
    mount.stop()
  }
}

function pagesOf(file: string): number {
  const fd = fs.openSync(file, 'r')
  const pages = cachedPages(fd)
  fs.closeSync(fd)
  return pages
}

function pagesOfHomes(bench: Bench, mountpoint: string): number {
  const [command = '', ...args] = bench.program
  const output = execFileSync(command, [...args, 'status', '--json', mountpoint], { encoding: 'utf8' })
  return (JSON.parse(output) as StatusReport[])[0]!.homes.cachedBytes / PAGE_BYTES
}
