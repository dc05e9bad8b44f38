/** `--merge content`: what files cost that share no storage and are equal, in memory and in time, beside passing them through and reading them natively. */
import fs from 'node:fs'
import path from 'node:path'
import { forgetFile } from '../../src/demo/reading.ts'
import {
  APART,
  add,
  type Bench,
  compare,
  describePinning,
  load,
  type Pinning,
  type Place,
  type Section,
  TOGETHER,
  withXfs,
} from '../bench.ts'
import { perSecond, runClient } from '../client.ts'
import { type Side, UNIT } from '../figure.ts'
import { warm, writePrivate } from '../files.ts'
import { PAGE_BYTES, pagesOf, statusOf } from '../held.ts'
import { openSide, type SideMount } from '../sides.ts'

const MEBIBYTE = 2 ** 20
const COPIES = ['one', 'two', 'three', 'four']
const SIDES = ['samepage', 'passed through', 'native'] as const

export const mergeMount: Section = {
  name: 'merge-mount',
  title: 'mount --merge content: four equal files that share no storage',
  run: (bench) =>
    withXfs(bench, 4 * 2 ** 30, async (place) => {
      const size = (bench.quick ? 32 : 256) * MEBIBYTE
      const image = path.join(place.source, await writePrivate(place.source, size, bench.cleanup))
      for (const name of COPIES) copyWithoutSharing(image, path.join(place.source, name))
      await memory(bench, place, size)
      for (const pinning of [APART, TOGETHER]) {
        await hot(bench, place, size, pinning, 'sequential', MEBIBYTE)
        await hot(bench, place, size, pinning, 'random', PAGE_BYTES)
      }
      await cold(bench, place, size)
    }),
}

async function memory(bench: Bench, place: Place, size: number): Promise<void> {
  const before = load()
  const held: Record<string, number[]> = {}
  for (const side of SIDES) {
    for (const name of COPIES) forgetFile(path.join(place.source, name))
    held[side] = [
      await withMount(bench, side, place, size, APART, async (mount) => {
        for (const name of COPIES) warm(mount.path, name)
        const inKernel = COPIES.reduce((sum, name) => sum + pagesOf(path.join(place.source, name)), 0) * PAGE_BYTES
        const merge = side === 'samepage' ? statusOf(bench, mount.path).merge : undefined
        return inKernel + (merge === undefined ? 0 : merge.pageBytes + merge.indexBytes)
      }),
    ]
  }
  add(bench, {
    name: 'memory held, kernel’s and arena’s, indexes included',
    unit: UNIT.BYTES,
    samples: held,
    targets: [],
    processors: describePinning(APART),
    load: [before, load()],
  })
}

function hot(
  bench: Bench,
  place: Place,
  size: number,
  pinning: Pinning,
  order: 'sequential' | 'random',
  blockBytes: number,
): Promise<void> {
  const isSequential = order === 'sequential'
  return compare(bench, {
    name: isSequential ? 'hot: 1 MiB sequential reads' : 'hot: 4 KiB random reads',
    unit: isSequential ? UNIT.BYTES_PER_SECOND : UNIT.PER_SECOND,
    sides: SIDES,
    targets: [],
    processors: describePinning(pinning),
    measure: (side) =>
      withMount(bench, side, place, size, pinning, async (mount) => {
        warm(mount.path, 'one')
        const blocks = (isSequential ? 4 : 1) * Math.floor(size / blockBytes)
        const rate = perSecond(
          await runClient('read', pinning.client, { file: path.join(mount.path, 'one'), order, blockBytes, blocks }),
        )
        return isSequential ? blockBytes * rate : rate
      }),
  })
}

function cold(bench: Bench, place: Place, size: number): Promise<void> {
  return compare(bench, {
    name: 'cold: 1 MiB sequential reads',
    unit: UNIT.BYTES_PER_SECOND,
    sides: SIDES,
    targets: [],
    processors: describePinning(APART),
    measure: (side) =>
      withMount(bench, side, place, size, APART, async (mount) => {
        forgetFile(path.join(place.source, 'two'))
        const task = {
          file: path.join(mount.path, 'two'),
          order: 'sequential',
          blockBytes: MEBIBYTE,
          blocks: size / MEBIBYTE,
        } as const
        return MEBIBYTE * perSecond(await runClient('read', APART.client, task))
      }),
  })
}

/** A fresh mount that has compiled its code. */
async function withMount(
  bench: Bench,
  side: Side,
  place: Place,
  size: number,
  pinning: Pinning,
  body: (mount: SideMount) => Promise<number>,
): Promise<number> {
  const options = side === 'samepage' ? ['--merge', 'content', '--memory', String(2 * size)] : []
  const mount = await openSide(bench, side === 'native' ? 'native' : 'samepage', place, pinning.server, options)
  try {
    warm(mount.path, 'four')
    const exercise = {
      file: path.join(mount.path, 'four'),
      order: 'random',
      blockBytes: PAGE_BYTES,
      blocks: 10_000,
    } as const
    await runClient('read', pinning.client, exercise)
    return await body(mount)
  } finally {
    mount.stop()
  }
}

/** Byte by byte: a copy by the kernel would be a clone. */
function copyWithoutSharing(from: string, to: string): void {
  const buffer = Buffer.alloc(MEBIBYTE)
  const [source, target] = [fs.openSync(from, 'r'), fs.openSync(to, 'w')]
  for (let count = 1; count > 0; ) {
    count = fs.readSync(source, buffer)
    fs.writeSync(target, buffer, 0, count)
  }
  fs.fsyncSync(target)
  fs.closeSync(source)
  fs.closeSync(target)
}
