/** What writing costs: data, names, and two programs that people wait for. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { APART, type Bench, type Pinning, type Place, type Section, TOGETHER, withXfs } from '../bench.ts'
import { perSecond, runClient, timeProgram, type WriteTask } from '../client.ts'
import { type Target, UNIT } from '../figure.ts'
import { writeClones, writeExercise, writeMany } from '../files.ts'
import { compareFreshMounts, type FreshMounts } from '../sides.ts'

const MEBIBYTE = 2 ** 20
const NO_SLOWER: readonly Target[] = [{ against: 'bindfs', min: 1 }]
const AS_NATIVE: readonly Target[] = [
  { against: 'bindfs', min: 1 },
  { against: 'native', min: 0.95 },
]

/** Who hears of each close(2), as a mount that can be written does, and who does not. */
const NAME_PEERS = ['bindfs', 'bindfs --enable-lock-forwarding'] as const

export const writes: Section = {
  name: 'writes',
  title: 'writing',
  run: (bench) =>
    withXfs(bench, 8 * 2 ** 30, async (place) => {
      writeExercise(place.source)
      for (const pinning of [APART, TOGETHER]) {
        await data(bench, place, pinning)
        for (const peer of NAME_PEERS) await names(bench, place, pinning, peer)
        await programs(bench, place, pinning)
      }
    }),
}

/** Overwrites files, each in the state in which it was made: what is written of a diverged one is its own from then on. */
async function data(bench: Bench, place: Place, pinning: Pinning): Promise<void> {
  const size = (bench.quick ? 32 : 256) * MEBIBYTE
  const scale = bench.quick ? 8 : 1
  const tasks: readonly (Omit<WriteTask, 'file'> & { name: string })[] = [
    { name: '4 KiB random writes', order: 'random', blockBytes: 4096, blocks: 40_000 / scale, sync: 'at the end' },
    { name: '1 MiB writes', order: 'sequential', blockBytes: MEBIBYTE, blocks: size / MEBIBYTE, sync: 'at the end' },
    { name: '4 KiB write and fdatasync', order: 'random', blockBytes: 4096, blocks: 4000 / scale, sync: 'each' },
  ]
  for (const [kind, clones, targets] of [
    ['private', 0, AS_NATIVE],
    ['diverged', 2, NO_SLOWER],
  ] as const)
    for (const { name, ...task } of tasks) {
      const directory = path.join(place.source, 'data')
      const write = async (root: string, set: string) => {
        const file = path.join(root, 'data', set, clones === 0 ? 'image' : 'clone-2')
        return perSecond(await runClient('write', pinning.client, { ...task, file }))
      }
      await compareFreshMounts(bench, place, pinning, {
        name: `${kind}: ${name}`,
        unit: UNIT.PER_SECOND,
        targets,
        async prepare() {
          fs.rmSync(directory, { recursive: true, force: true })
          for (const set of ['exercise', 'measured']) {
            fs.mkdirSync(path.join(directory, set), { recursive: true })
            await writeClones(path.join(directory, set), size, clones, bench.cleanup)
          }
        },
        async measure(root) {
          await write(root, 'exercise')
          return write(root, 'measured')
        },
      })
      fs.rmSync(directory, { recursive: true })
    }
}

async function names(bench: Bench, place: Place, pinning: Pinning, peer: (typeof NAME_PEERS)[number]): Promise<void> {
  for (const what of ['create', 'rename', 'unlink'] as const)
    await compareFreshMounts(bench, place, pinning, {
      name: what,
      unit: UNIT.PER_SECOND,
      targets: [{ against: peer, min: 1 }],
      peer,
      async measure(root) {
        const directory = path.join(root, 'changes')
        fs.mkdirSync(directory, { recursive: true })
        const task = { directory, what, files: 5000, passes: bench.quick ? 2 : 5 }
        return perSecond(await runClient('change', pinning.client, task))
      },
    })
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
  const seconds = (name: string, measure: FreshMounts['measure']) =>
    compareFreshMounts(bench, place, pinning, { name, unit: UNIT.SECONDS, targets: NO_SLOWER, measure })
  await seconds(`tar -x of ${directories * 100} small files`, async (root) => {
    const target = path.join(root, 'unpacked')
    const unpack = async () => {
      fs.mkdirSync(target)
      const took = await timeProgram(pinning.client, 'tar', ['-xf', archive, '-C', target])
      fs.rmSync(target, { recursive: true })
      return took
    }
    await unpack()
    return unpack()
  })
  await seconds(`git status of ${directories * 100} files`, async (root) => {
    const status = ['-c', 'safe.directory=*', '-C', path.join(root, 'tree'), 'status', '--porcelain']
    // Through each mount the files have other numbers of device and inode: the first status looks at all of them.
    await timeProgram(pinning.client, 'git', status)
    return timeProgram(pinning.client, 'git', status)
  })
}
