/** Hot reads of diverged clones, which the daemon serves: from their home, and their own pages from themselves. */
import path from 'node:path'
import {
  APART,
  type Bench,
  compare,
  describePinning,
  type Pinning,
  type Place,
  type Section,
  TOGETHER,
  TWO_CLIENTS,
  withXfs,
} from '../bench.ts'
import { perSecond, runClient } from '../client.ts'
import { type Side, UNIT } from '../figure.ts'
import { warm, writeClones } from '../files.ts'
import { openSide } from '../sides.ts'

const MEBIBYTE = 2 ** 20
const PAGE_BYTES = 4096

export const daemonSpeed: Section = {
  name: 'daemon-speed',
  title: 'Hot reads of diverged clones: the daemon serves them',
  run: (bench) =>
    withXfs(bench, 8 * 2 ** 30, async (place) => {
      const size = (bench.quick ? 64 : 256) * MEBIBYTE
      await writeClones(place.source, size, 6, bench.cleanup)
      for (const pinning of [APART, TOGETHER]) {
        await sequential(bench, place, size, pinning)
        await random(bench, place, size, pinning)
      }
      await twoReaders(bench, place, size)
    }),
}

function sequential(bench: Bench, place: Place, size: number, pinning: Pinning): Promise<void> {
  return compare(bench, {
    name: '1 MiB sequential reads',
    unit: UNIT.BYTES_PER_SECOND,
    sides: ['samepage', 'native'],
    targets: [{ against: 'native', min: 0.4 }],
    processors: describePinning(pinning),
    measure: (side) =>
      withMount(bench, side, place, pinning, async (mountpoint) => {
        const blocks = ((side === 'native' ? 40 : 10) * size) / MEBIBYTE
        const task = {
          file: path.join(mountpoint, 'clone-2'),
          order: 'sequential',
          blockBytes: MEBIBYTE,
          blocks,
        } as const
        return MEBIBYTE * perSecond(await runClient('read', pinning.client, task))
      }),
  })
}

/** Each page once, of a file never read before through this mount: so bindfs has nothing in the kernel's cache in front of it. */
function random(bench: Bench, place: Place, size: number, pinning: Pinning): Promise<void> {
  return compare(bench, {
    name: '4 KiB random reads, one reader',
    unit: UNIT.PER_SECOND,
    sides: ['samepage', 'bindfs', 'native'],
    targets: [{ against: 'bindfs', min: 2 }],
    processors: describePinning(pinning),
    measure: (side) =>
      withMount(bench, side, place, pinning, async (mountpoint) => {
        const file = path.join(mountpoint, 'clone-2')
        const task = { file, order: 'random', blockBytes: PAGE_BYTES, blocks: size / PAGE_BYTES } as const
        return perSecond(await runClient('read', pinning.client, task))
      }),
  })
}

function twoReaders(bench: Bench, place: Place, size: number): Promise<void> {
  const blocks = size / PAGE_BYTES
  return compare(bench, {
    name: '4 KiB random reads, two readers',
    unit: UNIT.PER_SECOND,
    sides: ['samepage', 'bindfs', 'bindfs --multithreaded', 'native'],
    targets: [
      { against: 'bindfs', min: 2 },
      { against: 'bindfs --multithreaded', min: 2 },
    ],
    processors: describePinning(TWO_CLIENTS),
    measure: (side) =>
      withMount(bench, side, place, TWO_CLIENTS, async (mountpoint) => {
        const startAtMs = Date.now() + 1000
        const rates = await Promise.all(
          ['clone-2', 'clone-4'].map((name, processor) => {
            const file = path.join(mountpoint, name)
            const task = { file, order: 'random', blockBytes: PAGE_BYTES, blocks, startAtMs } as const
            return runClient('read', String(processor), task)
          }),
        )
        return (2 * blocks) / Math.max(...rates.map(({ seconds }) => seconds))
      }),
  })
}

/** A fresh mount, in which no diverged clone has been read; what it will read is in memory. */
async function withMount(
  bench: Bench,
  side: Side,
  place: Place,
  pinning: Pinning,
  body: (mountpoint: string) => Promise<number>,
): Promise<number> {
  const mount = await openSide(bench, side, place, pinning.server)
  try {
    // Natively: the clones themselves, which bindfs reads, and of which Samepage reads the own pages. Through Samepage: the home.
    for (const name of ['clone-2', 'clone-4', 'clone-6']) warm(place.source, name)
    if (side === 'samepage') warm(mount.path, 'clone-1')
    // And a server that has compiled its code: on a clone that is not measured.
    const exercise = {
      file: path.join(mount.path, 'clone-6'),
      order: 'random',
      blockBytes: PAGE_BYTES,
      blocks: 10_000,
    } as const
    await runClient('read', '0', exercise)
    return await body(mount.path)
  } finally {
    mount.stop()
  }
}
