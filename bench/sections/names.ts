/** What trees of files cost: stat, lists of directories, find, open and close. */
import path from 'node:path'
import { APART, type Bench, type Pinning, type Place, type Section, TOGETHER, withXfs } from '../bench.ts'
import { type NamesTask, perSecond, runClient, timeProgram } from '../client.ts'
import { UNIT } from '../figure.ts'
import { cloneMany, writeClones, writeExercise, writeMany } from '../files.ts'
import { compareFreshMounts, type FreshMounts } from '../sides.ts'

const MEBIBYTE = 2 ** 20
const NO_SLOWER = [{ against: 'bindfs', min: 1 }] as const

export const names: Section = {
  name: 'names',
  title: 'stat, lists of directories, find',
  run: (bench) =>
    withXfs(bench, 8 * 2 ** 30, async (place) => {
      const scale = bench.quick ? 10 : 1
      const many = 100_000 / scale
      const some = 20_000 / scale
      const directories = 200 / scale
      writeExercise(place.source)
      writeMany(place.source, 'many', many, 0)
      writeMany(place.source, 'some', some, 100)
      for (let i = 0; i < directories; i++) writeMany(place.source, `tree/${i}`, 100, 100)
      for (const pinning of [APART, TOGETHER]) {
        const client = (name: string, task: Omit<NamesTask, 'directory'>, directory: string) =>
          compareMounts(bench, place, pinning, {
            name,
            unit: UNIT.PER_SECOND,
            targets: NO_SLOWER,
            measure: async (root) =>
              perSecond(await runClient('names', pinning.client, { ...task, directory: path.join(root, directory) })),
          })
        const stat = { what: 'stat', files: some } as const
        await client('stat, of names never seen', { ...stat, passes: 1, pauseSeconds: 0 }, 'some')
        await client('stat, after the kernel has forgotten', { ...stat, passes: 2, pauseSeconds: 1.5 }, 'some')
        await client(
          `entries of a directory of ${many}`,
          { what: 'list', files: many, passes: 5, pauseSeconds: 0 },
          'many',
        )
        const names = directories * 101
        for (const [name, args, times] of [
          [`find: ${names} names`, [], 1],
          [`find: ${names} names, again`, [], 2],
          [`find -size: ${names} names and sizes`, ['-size', '+1M'], 1],
        ] as const)
          await compareMounts(bench, place, pinning, {
            name,
            unit: UNIT.SECONDS,
            targets: NO_SLOWER,
            measure: async (root) => {
              const tree = path.join(root, 'tree')
              for (let i = 1; i < times; i++) await find(pinning.client, tree, args)
              return await find(pinning.client, tree, args)
            },
          })
      }
    }),
}

/** Each with a peer that sends as many requests. */
const WAYS_TO_MOUNT = [
  { how: 'read-only', peer: 'bindfs', options: ['--read-only'] },
  { how: 'to be written', peer: 'bindfs', options: [] },
  { how: 'to be written, locks below, too', peer: 'bindfs --enable-lock-forwarding', options: [] },
] as const

export const openClose: Section = {
  name: 'open-close',
  title: 'open and close',
  run: (bench) =>
    withXfs(bench, 8 * 2 ** 30, async (place) => {
      writeExercise(place.source)
      writeMany(place.source, 'private', 1000, 4096)
      await writeClones(place.source, MEBIBYTE, 0, bench.cleanup)
      cloneMany(place.source, 'pristine', 'image', 100, 0)
      cloneMany(place.source, 'diverged', 'image', 100, 2)
      const passes = bench.quick ? 2 : 50
      for (const pinning of [TOGETHER, APART])
        for (const [kind, files] of [
          ['private', 1000],
          ['pristine', 100],
          ['diverged', 100],
        ] as const) {
          const what = { what: 'open and close', files, passes: (passes * 1000) / files, pauseSeconds: 0 } as const
          const measure = async (root: string) =>
            perSecond(await runClient('names', pinning.client, { ...what, directory: path.join(root, kind) }))
          const name = `open and close: ${kind} files`
          for (const { how, peer, options } of WAYS_TO_MOUNT)
            await compareMounts(bench, place, pinning, {
              name: `${name}, ${how}`,
              unit: UNIT.PER_SECOND,
              targets: [{ against: peer, min: 0.8 }],
              peer,
              options,
              measure,
            })
        }
    }),
}

/** Each with the file system's own records in memory. */
function compareMounts(
  bench: Bench,
  place: Place,
  pinning: Pinning,
  what: Omit<FreshMounts, 'prepare'>,
): Promise<void> {
  const prepare = () => find(APART.client, place.source, ['-size', '+1M'])
  return compareFreshMounts(bench, place, pinning, { ...what, prepare })
}

/** Seconds that find(1) takes; what it finds is counted nowhere. */
const find = (processors: string, directory: string, args: readonly string[]): Promise<number> =>
  timeProgram(processors, 'find', [directory, ...args])
