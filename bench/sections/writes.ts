/** What writing costs: data, names, and two programs that people wait for. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { APART, type Bench, type Pinning, type Place, type Section, TOGETHER, withXfs } from '../bench.ts'
import { perSecond, runClient, timeProgram, type WriteTask } from '../client.ts'
import { type Target, UNIT } from '../figure.ts'
import { writeClones, writeExercise, writeMany, writePrivate } from '../files.ts'
import { compareFreshMounts, type FreshMounts } from '../sides.ts'

const MEBIBYTE = 2 ** 20
const NO_SLOWER: readonly Target[] = [{ against: 'bindfs', min: 1 }]
const AS_NATIVE: readonly Target[] = [
  { against: 'bindfs', min: 1 },
  { against: 'native', min: 0.95 },
]

export const writes: Section = {
  name: 'writes',
  title: 'writing',
  run: (bench) =>
    withXfs(bench, 8 * 2 ** 30, async (place) => {
      const size = (bench.quick ? 32 : 256) * MEBIBYTE
      writeExercise(place.source)
      await writeClones(place.source, size, 2, bench.cleanup)
      const own = await writePrivate(place.source, size, bench.cleanup)
      for (const pinning of [APART, TOGETHER]) {
        for (const [kind, file, targets] of [
          ['private', own, AS_NATIVE],
          ['diverged', 'clone-2', NO_SLOWER],
        ] as const) {
          const write = (name: string, task: Omit<WriteTask, 'file'>) =>
            throughFreshMount(bench, place, pinning, `${kind}: ${name}`, targets, async (root) =>
              perSecond(await runClient('write', pinning.client, { ...task, file: path.join(root, file) })),
            )
          const scale = bench.quick ? 8 : 1
          await write('4 KiB random writes', {
            order: 'random',
            blockBytes: 4096,
            blocks: 40_000 / scale,
            sync: 'at the end',
          })
          await write('1 MiB writes', {
            order: 'sequential',
            blockBytes: MEBIBYTE,
            blocks: size / MEBIBYTE,
            sync: 'at the end',
          })
          await write('4 KiB write and fdatasync', {
            order: 'random',
            blockBytes: 4096,
            blocks: 400 / scale,
            sync: 'each',
          })
        }
        for (const what of ['create', 'rename', 'unlink'] as const)
          await throughFreshMount(bench, place, pinning, what, NO_SLOWER, async (root) => {
            const directory = path.join(root, 'changes')
            fs.mkdirSync(directory, { recursive: true })
            return perSecond(
              await runClient('change', pinning.client, { directory, what, files: bench.quick ? 500 : 5000 }),
            )
          })
        await programs(bench, place, pinning)
      }
    }),
}

/** An archive of many small files is unpacked, and a large working tree is looked through. */
async function programs(bench: Bench, place: Place, pinning: Pinning): Promise<void> {
  const directories = bench.quick ? 20 : 200
  const tree = path.join(place.source, 'tree')
  const archive = path.join(place.outside, 'tree.tar')
  if (!fs.existsSync(tree)) {
    for (let i = 0; i < directories; i++) writeMany(place.source, `tree/${i}`, 100, 1000)
    execFileSync('tar', ['-cf', archive, '-C', tree, '.'])
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', tree, '-c', 'user.name=b', '-c', 'user.email=b@b', ...args])
    git('init', '--quiet')
    git('add', '--all')
    git('commit', '--quiet', '--message', 'all')
  }
  const seconds = (name: string, run: (root: string) => Promise<number>) =>
    throughFreshMount(bench, place, pinning, name, NO_SLOWER, run, UNIT.SECONDS)
  await seconds(`tar -x of ${directories * 100} small files`, async (root) => {
    const target = path.join(root, 'unpacked')
    fs.mkdirSync(target)
    const took = await timeProgram(pinning.client, 'tar', ['-xf', archive, '-C', target])
    fs.rmSync(target, { recursive: true })
    return took
  })
  await seconds(`git status of ${directories * 100} files`, async (root) => {
    const status = ['-c', 'safe.directory=*', '-C', path.join(root, 'tree'), 'status', '--porcelain']
    // Through each mount the files have other numbers of device and inode: the first status looks at all of them.
    await timeProgram(pinning.client, 'git', status)
    return timeProgram(pinning.client, 'git', status)
  })
}

function throughFreshMount(
  bench: Bench,
  place: Place,
  pinning: Pinning,
  name: string,
  targets: readonly Target[],
  measure: FreshMounts['measure'],
  unit: FreshMounts['unit'] = UNIT.PER_SECOND,
): Promise<void> {
  return compareFreshMounts(bench, place, pinning, { name, unit, targets, measure })
}
