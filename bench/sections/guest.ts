/** Two virtual machines, in software emulation, that boot from clones of one disk, read it, and write a little. */
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { forgetFile } from '../../src/demo/reading.ts'
import { startGuest, writeGuestDisk } from '../../test/support/guest.ts'
import { whyNoGuest } from '../../test/support/guest-kernel.ts'
import { add, compare, load, type Section, withXfs } from '../bench.ts'
import { type Side, UNIT } from '../figure.ts'
import { homesOf, PAGE_BYTES, pagesOf } from '../held.ts'
import { openSide } from '../sides.ts'

const GUESTS = ['clone-1', 'clone-2']
const SIDES = ['samepage', 'bindfs', 'native'] as const
const PROCESSORS = '0,1'
const ANYWHERE = 'all on 0 and 1'

export const guest: Section = {
  name: 'guest',
  title: 'Two QEMU guests that boot from clones of one disk, read all of it and write some',
  async run(bench) {
    const missing = whyNoGuest()
    if (missing !== undefined) return bench.say(`left out: ${missing}`)
    await withXfs(bench, 8 * 2 ** 30, async ({ source, outside }) => {
      writeGuestDisk(path.join(source, 'original'), (bench.quick ? 16 : 256) << 20)
      for (const cache of ['writeback', 'none'] as const) {
        const held: Partial<Record<Side, number[]>> = { samepage: [], native: [] }
        const before = load()
        await compare(bench, {
          name: `cache=${cache}: from start to end`,
          unit: UNIT.SECONDS,
          sides: SIDES,
          targets: [{ against: 'bindfs', min: 1 }],
          processors: ANYWHERE,
          async measure(side) {
            const files = GUESTS.map((name) => path.join(source, name))
            for (const file of files) execFileSync('cp', ['--reflink=always', path.join(source, 'original'), file])
            for (const file of [path.join(source, 'original'), ...files]) forgetFile(file)
            const mount = await openSide(bench, side, { source, outside }, PROCESSORS)
            try {
              const began = performance.now()
              await Promise.all(GUESTS.map((name) => startGuest(path.join(mount.path, name), cache).ended))
              const seconds = (performance.now() - began) / 1000
              const own = files.reduce((sum, file) => sum + pagesOf(file) * PAGE_BYTES, 0)
              held[side]?.push(own + (side === 'samepage' ? homesOf(bench, mount.path).cachedBytes : 0))
              return seconds
            } finally {
              mount.stop()
            }
          },
        })
        add(bench, {
          name: `cache=${cache}: page cache\nthat the host then has of them`,
          unit: UNIT.BYTES,
          samples: held,
          // With cache=none nothing is cached natively, and every read comes from the device.
          targets: cache === 'none' ? [] : [{ against: 'native', min: 1.5 }],
          processors: ANYWHERE,
          load: [before, load()],
        })
      }
    })
  },
}
