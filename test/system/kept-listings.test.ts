/**
 * Lists of directories that the kernel keeps. Nobody may notice but by the time that listing takes: who opens a directory gets what it has then, whoever changed it, and whoever else has it
 * open or is listing it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { run } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { SETTLED_MS, settle } from '../support/settled.ts'

const NAMES = 300
const HAMMER_MS = 4000

interface Entry {
  readonly name: string
  readonly kind: string
}

/** What the directory has, as its list alone tells. */
function list(directory: string): Entry[] {
  return fs
    .readdirSync(directory, { withFileTypes: true })
    .map((entry) => ({ name: entry.name, kind: entry.isDirectory() ? 'directory' : entry.isFile() ? 'file' : 'other' }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Requests for entries of directories so far. */
async function listed(mount: Mounted): Promise<number> {
  const { requests } = await mount.status()
  return requests.filter(({ name }) => name.startsWith('READDIR')).reduce((sum, { count }) => sum + count, 0)
}

for (const kind of ['xfs', 'btrfs', 'ext4'] as const)
  describeWith(['root', 'loop', 'fuse', kind], `a list that the kernel keeps, on ${kind}`, () => {
    let filesystem: LoopFilesystem
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind)
    })
    afterAll(async () => await filesystem[Symbol.asyncDispose]())

    /** A directory of the source with many files, that has not changed for a while. */
    async function directory(name: string): Promise<string> {
      const path = `${filesystem.path}/${name}`
      fs.mkdirSync(path)
      for (let i = 0; i < NAMES; i++) fs.writeFileSync(`${path}/file${i}`, '')
      fs.mkdirSync(`${path}/directory`)
      fs.symlinkSync('file1', `${path}/link`)
      await settle()
      return path
    }

    test.each([true, undefined])('asks the daemon once (read-only mount: %s)', async (readOnly) => {
      const below = await directory(`once${readOnly}`)
      await using mount = await mounted(below, { flags: { ...(readOnly && { readOnly }) } })
      const expected = list(below)
      // On a busy machine the directory's last change may not be over at the first list.
      await eventually(async () => {
        const before = await listed(mount)
        expect(list(mount.path)).toEqual(expected)
        expect(await listed(mount)).toBe(before)
      })
      const before = await listed(mount)
      for (let i = 0; i < 10; i++) expect(list(mount.path)).toEqual(expected)
      expect(await listed(mount)).toBe(before)
    })

    test('is asked for anew after each change, below and through the mount', async () => {
      const below = await directory('changed')
      await using mount = await mounted(below)
      const changes: [string, (root: string) => void][] = [
        ['a new file', (root) => fs.writeFileSync(`${root}/new`, '')],
        ['a new name', (root) => fs.renameSync(`${root}/new`, `${root}/newer`)],
        ['another file of that name', (root) => fs.renameSync(`${root}/file5`, `${root}/newer`)],
        ['a file less', (root) => fs.rmSync(`${root}/newer`)],
        [
          'a directory in place of a file',
          (root) => [fs.rmSync(`${root}/file7`, { recursive: true }), fs.mkdirSync(`${root}/file7`)],
        ],
        ['a link', (root) => fs.linkSync(`${root}/file8`, `${root}/linked`)],
        ['a file from elsewhere', (root) => fs.renameSync(`${root}/file7`, `${root}/directory/moved`)],
        [
          'a change that hides its time',
          (root) => {
            const { atime, mtime } = fs.statSync(root)
            fs.writeFileSync(`${root}/hidden`, '')
            fs.utimesSync(root, atime, mtime)
          },
        ],
        [
          'nothing left',
          (root) => {
            for (const name of fs.readdirSync(root)) fs.rmSync(`${root}/${name}`, { recursive: true, force: true })
          },
        ],
      ]
      for (const [what, change] of changes)
        for (const root of [below, mount.path]) {
          // Twice below and through the mount alike, but for what the change needs to find.
          const names = fs.readdirSync(below)
          for (const name of ['new', 'newer', 'file5', 'file7', 'file8'])
            if (!names.includes(name)) fs.writeFileSync(`${below}/${name}`, '')
          if (!names.includes('directory')) fs.mkdirSync(`${below}/directory`)
          for (const name of ['linked', 'directory/moved', 'hidden'])
            fs.rmSync(`${below}/${name}`, { recursive: true, force: true })
          await settle()
          expect(list(mount.path)).toEqual(list(below))
          expect(list(mount.path)).toEqual(list(below))
          // Held open, and half read: by who has it open from before.
          const early = fs.opendirSync(mount.path)
          early.readSync()
          change(root)
          expect(list(mount.path), `${what}, ${root === below ? 'below' : 'through the mount'}`).toEqual(list(below))
          early.closeSync()
          expect(list(mount.path), `${what}, after all have closed it`).toEqual(list(below))
        }
    })

    test('is dropped where changes are watched: who rewinds sees them, too, whoever opened it in between', async () => {
      const below = await directory('watched')
      await using mount = await mounted(below, { flags: { watch: true } })
      await using client = startClient()
      await client.run('directory = os.open(path, os.O_RDONLY)', { path: mount.path })
      // By the same open file each time, which is rewound.
      const rewound = () => client.value<string[]>('sorted(os.listdir(directory))')
      const names = () => fs.readdirSync(below).sort()
      for (let change = 0; change < 4; change++) {
        expect(await rewound()).toEqual(names())
        fs.writeFileSync(`${below}/change${change}`, '')
        if (change % 2 === 0) expect(list(mount.path)).toEqual(list(below))
        await eventually(async () => expect(await rewound()).toEqual(names()))
        await settle()
      }
      await client.run('os.close(directory)')
    })

    test('is not kept where files are looked up after their names', async () => {
      const below = await directory('looked-up')
      // Each worker knows of those look-ups that it has done.
      await using mount = await mounted(below, { flags: { timeout: 0, workers: 1 } })
      const listLong = () => {
        for (const { name } of list(mount.path)) fs.lstatSync(`${mount.path}/${name}`)
      }
      listLong()
      const before = await listed(mount)
      listLong()
      expect(await listed(mount)).toBeGreaterThan(before)
    })

    const seed = testSeed()
    test(`is right while others list, open and change it all the time, seed ${seed}`, async () => {
      const below = await directory('hammered')
      await using mount = await mounted(below, { flags: { workers: 2 } })
      const script = 'while :; do ls -f "$1" > /dev/null; ls -f "$1" | head -1 > /dev/null; done'
      const others = [1, 2].map(() => spawn('sh', ['-c', script, 'sh', mount.path], { stdio: 'ignore' }))
      try {
        const random = new Random(seed)
        const end = Date.now() + HAMMER_MS
        for (let step = 0; Date.now() < end; step++) {
          const root = random.below(4) === 0 ? mount.path : below
          const name = `file${random.below(NAMES)}`
          // Through the mount a name may still be believed that is gone below.
          if (fs.existsSync(`${below}/${name}`)) fs.rmSync(`${root}/${name}`, { force: true })
          else fs.writeFileSync(`${root}/${name}`, '')
          expect(list(mount.path), `seed ${seed}, step ${step}`).toEqual(list(below))
          if (random.below(2) === 0) await sleep(random.below(SETTLED_MS))
          expect(list(mount.path), `seed ${seed}, step ${step}, later`).toEqual(list(below))
        }
      } finally {
        for (const other of others) {
          const ended = once(other, 'exit')
          other.kill()
          await ended
        }
      }
    })

    if (kind === 'btrfs')
      test('shows subvolumes and snapshots that come and go', async () => {
        const below = await directory('subvolumes')
        await using mount = await mounted(below)
        for (let round = 0; round < 3; round++) {
          await settle()
          list(mount.path)
          run('btrfs', 'subvolume', 'create', `${below}/subvolume`)
          expect(list(mount.path)).toEqual(list(below))
          await settle()
          list(mount.path)
          run('btrfs', 'subvolume', 'snapshot', `${below}/subvolume`, `${below}/snapshot`)
          expect(list(mount.path)).toEqual(list(below))
          await settle()
          list(mount.path)
          run('btrfs', 'subvolume', 'delete', `${below}/subvolume`, `${below}/snapshot`)
          expect(list(mount.path)).toEqual(list(below))
        }
      })
  })
