/** Hot reads that the kernel serves by itself, without the daemon: pristine clones from their home, private files from themselves. */
import path from 'node:path'
import { APART, compare, describePinning, type Section, withXfs } from '../bench.ts'
import { perSecond, runClient } from '../client.ts'
import { UNIT } from '../figure.ts'
import { warm, writeClones, writePrivate } from '../files.ts'
import { openSide, type SideMount } from '../sides.ts'

const MEBIBYTE = 2 ** 20
const PAGE_BYTES = 4096

export const kernelSpeed: Section = {
  name: 'kernel-speed',
  title: 'Hot reads of pristine and private files: the kernel passes them through',
  run: (bench) =>
    withXfs(bench, 8 * 2 ** 30, async (place) => {
      const size = (bench.quick ? 64 : 256) * MEBIBYTE
      const pages = size / PAGE_BYTES
      await writeClones(place.source, size, 1, bench.cleanup)
      const ownFile = await writePrivate(place.source, size, bench.cleanup)
      const mounts: Record<string, SideMount> = {
        samepage: await openSide(bench, 'samepage', place, APART.server),
        native: await openSide(bench, 'native', place, APART.server),
      }
      for (const [kind, name] of [
        ['pristine', 'clone-1'],
        ['private', ownFile],
      ] as const) {
        const measure = (what: string, unit: typeof UNIT.PER_SECOND | typeof UNIT.BYTES_PER_SECOND, client: Client) =>
          compare(bench, {
            name: `${kind}: ${what}`,
            unit,
            sides: ['samepage', 'native'],
            targets: [{ against: 'native', min: 0.95 }],
            processors: describePinning(APART),
            async measure(side) {
              const file = path.join(mounts[side]!.path, name)
              warm(file)
              return client(file)
            },
          })
        await measure('4 KiB random reads', UNIT.PER_SECOND, async (file) => {
          const task = { file, order: 'random', blockBytes: PAGE_BYTES, blocks: 16 * pages } as const
          return perSecond(await runClient('read', APART.client, task))
        })
        await measure('1 MiB sequential reads', UNIT.BYTES_PER_SECOND, async (file) => {
          const task = { file, order: 'sequential', blockBytes: MEBIBYTE, blocks: (40 * size) / MEBIBYTE } as const
          return MEBIBYTE * perSecond(await runClient('read', APART.client, task))
        })
        await measure('random touches of a new mapping', UNIT.PER_SECOND, async (file) =>
          perSecond(await runClient('map', APART.client, { file, passes: 30 })),
        )
      }
      for (const mount of Object.values(mounts)) mount.stop()
    }),
}

type Client = (file: string) => Promise<number>
