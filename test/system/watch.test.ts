/**
 * `mount --watch`: what is changed below the mount is seen through it although the kernel has been told that it may believe what it knows for an hour.
 * How soon is for the benchmark to say.
 */
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { StatusReport } from '../../src/daemon/status.ts'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, run, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { pythonProgram } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'
import { digest, seen, statOf } from '../support/seen.ts'
import { settle } from '../support/settled.ts'

const AN_HOUR = 3600

/** Two files, one of which has two names, a directory with a file in it, a symlink, a FIFO. */
function plant(directory: string): void {
  fs.mkdirSync(`${directory}/inner`, { recursive: true })
  for (const name of ['file', 'other', 'inner/deep']) fs.writeFileSync(`${directory}/${name}`, noise(10_000, 1))
  fs.linkSync(`${directory}/file`, `${directory}/link`)
  fs.symlinkSync('file', `${directory}/symlink`)
  run('mkfifo', `${directory}/fifo`)
}

const CHANGES: Record<string, (directory: string) => void> = {
  append: (d) => fs.appendFileSync(`${d}/file`, 'more'),
  'truncate by its other name': (d) => fs.truncateSync(`${d}/link`, 77),
  overwrite: (d) => overwrite(`${d}/file`, 5000, noise(10, 2), false),
  'write anew': (d) => fs.writeFileSync(`${d}/inner/deep`, 'short'),
  'punch a hole': (d) => run('fallocate', '-p', '-o', '4096', '-l', '4096', `${d}/file`),
  'clone over it': (d) => run('cp', '--reflink=always', `${d}/other`, `${d}/file`),
  'store through a mapping': (d) =>
    run(
      'python3',
      '-c',
      `import mmap; f = open("${d}/file", "r+b"); m = mmap.mmap(f.fileno(), 0); m[3] = 3; m.close(); f.close()`,
    ),
  chmod: (d) => fs.chmodSync(`${d}/file`, 0o4711),
  'chmod of a directory': (d) => fs.chmodSync(`${d}/inner`, 0o700),
  'chmod of the top': (d) => fs.chmodSync(d, 0o711),
  'chmod of a FIFO': (d) => fs.chmodSync(`${d}/fifo`, 0o600),
  'rename a FIFO': (d) => fs.renameSync(`${d}/fifo`, `${d}/inner/fifo`),
  chown: (d) => fs.chownSync(`${d}/other`, 1, 2),
  utimes: (d) => fs.utimesSync(`${d}/other`, 1000, 2000),
  create: (d) => fs.writeFileSync(`${d}/new`, 'new'),
  'create deep down': (d) => fs.writeFileSync(`${d}/inner/new`, 'new'),
  delete: (d) => fs.unlinkSync(`${d}/other`),
  'delete and create': (d) => {
    fs.unlinkSync(`${d}/other`)
    fs.writeFileSync(`${d}/other`, 'another')
  },
  'delete one of two names': (d) => fs.unlinkSync(`${d}/link`),
  link: (d) => fs.linkSync(`${d}/other`, `${d}/inner/second`),
  mkdir: (d) => fs.mkdirSync(`${d}/inner/deeper`),
  'remove a directory': (d) => fs.rmSync(`${d}/inner`, { recursive: true }),
  rename: (d) => fs.renameSync(`${d}/file`, `${d}/renamed`),
  'rename over': (d) => fs.renameSync(`${d}/file`, `${d}/other`),
  'rename into': (d) => fs.renameSync(`${d}/other`, `${d}/inner/other`),
  'rename a directory': (d) => fs.renameSync(`${d}/inner`, `${d}/outer`),
  'replace a file by a directory': (d) => {
    fs.unlinkSync(`${d}/other`)
    fs.mkdirSync(`${d}/other`)
  },
  'replace a symlink': (d) => {
    fs.symlinkSync('other', `${d}/symlink.new`)
    fs.renameSync(`${d}/symlink.new`, `${d}/symlink`)
  },
}

/** The same, and what only btrfs has; `inner` is a subvolume there. */
const CHANGES_OF_SUBVOLUMES: Record<string, (directory: string) => void> = {
  'in a subvolume': (d) => fs.appendFileSync(`${d}/inner/deep`, 'more'),
  'names in a subvolume': (d) => fs.renameSync(`${d}/inner/deep`, `${d}/inner/deeper`),
  'chmod of a subvolume': (d) => fs.chmodSync(`${d}/inner`, 0o700),
  snapshot: (d) => run('btrfs', 'subvolume', 'snapshot', `${d}/inner`, `${d}/snapshot`),
  'delete a subvolume': (d) => run('btrfs', 'subvolume', 'delete', `${d}/inner`),
}

/** What was watched so far, once nothing has been noticed for a while: changes are looked at twice. */
async function quietWatch(mount: Mounted): Promise<StatusReport['watch']> {
  for (let before = (await mount.status()).watch; ; ) {
    await settle()
    const { watch } = await mount.status()
    if (isDeepStrictEqual(watch, before)) return watch
    before = watch
  }
}

for (const kind of ['xfs', 'btrfs', 'ext4'] as const) {
  describeWith(['root', 'loop', 'fuse', 'program:python3', kind], `watched changes on ${kind}`, () => {
    let filesystem: LoopFilesystem
    let source: string
    let mount: Mounted
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind)
      source = `${filesystem.path}/source`
      // A subvolume has an id of its own, and only the top one can be marked.
      if (kind === 'btrfs') run('btrfs', 'subvolume', 'create', source)
      else fs.mkdirSync(source)
      mount = await mounted(source, { flags: { watch: true, timeout: AN_HOUR } })
    })
    afterAll(async () => {
      await mount?.[Symbol.asyncDispose]()
      await filesystem?.[Symbol.asyncDispose]()
    })

    async function expectNoticed(name: string, change: (directory: string) => unknown): Promise<void> {
      const below = `${source}/${name}`
      const above = `${mount.path}/${name}`
      // Twice: what was told while the first was read may have been old.
      for (let i = 0; i < 2; i++) expect(seen(above)).toEqual(seen(below))
      change(below)
      await eventually(() => expect(seen(above)).toEqual(seen(below)))
    }

    for (const [name, change] of Object.entries(CHANGES))
      if (kind !== 'ext4' || !name.startsWith('clone'))
        test(name, async () => {
          plant(`${source}/${name}`)
          await expectNoticed(name, change)
        })

    if (kind === 'btrfs')
      for (const [name, change] of Object.entries(CHANGES_OF_SUBVOLUMES))
        test(name, async () => {
          fs.mkdirSync(`${source}/${name}`)
          run('btrfs', 'subvolume', 'create', `${source}/${name}/inner`)
          plant(`${source}/${name}`)
          await expectNoticed(name, change)
        })

    if (kind === 'btrfs')
      test('in a snapshot, and not in what it was taken of', async () => {
        run('btrfs', 'subvolume', 'create', `${source}/origin`)
        plant(`${source}/origin`)
        run('btrfs', 'subvolume', 'snapshot', `${source}/origin`, `${source}/snapshot`)
        // The same inode numbers in both.
        expect(seen(`${mount.path}/origin`)).toEqual(seen(`${source}/origin`))
        await expectNoticed('snapshot', CHANGES.append!)
        expect(seen(`${mount.path}/origin`)).toEqual(seen(`${source}/origin`))
        await expectNoticed('origin', CHANGES['rename over']!)
        expect(seen(`${mount.path}/snapshot`)).toEqual(seen(`${source}/snapshot`))
      })

    if (kind === 'btrfs')
      test('in a subvolume that has the device number of a deleted one', async () => {
        const directory = `${source}/again`
        const inner = `${directory}/inner`
        fs.mkdirSync(directory)
        run('btrfs', 'subvolume', 'create', inner)
        plant(directory)
        const { dev } = fs.statSync(inner)
        const before = fs.statSync(`${mount.path}/again/inner`)
        run('btrfs', 'subvolume', 'delete', inner)
        // The number is free once nothing holds the old one.
        await eventually(() => {
          run('btrfs', 'subvolume', 'create', inner)
          if (fs.statSync(inner).dev === dev) return
          run('btrfs', 'subvolume', 'delete', inner)
          throw new Error('another device number')
        })
        fs.writeFileSync(`${inner}/deep`, 'short')
        await eventually(() => expect(seen(`${mount.path}/again`)).toEqual(seen(directory)))
        expect(fs.statSync(`${mount.path}/again/inner`).ino).not.toBe(before.ino)
        await expectNoticed('again', (d) => fs.appendFileSync(`${d}/inner/deep`, 'more'))
        await expectNoticed('again', (d) => fs.renameSync(`${d}/inner/deep`, `${d}/inner/moved`))
      })

    test('of the source directory itself', async () => {
      expect(statOf(mount.path)).toEqual(statOf(source))
      fs.chmodSync(source, 0o750)
      fs.writeFileSync(`${source}/at the top`, '')
      await eventually(() => expect(statOf(mount.path)).toEqual(statOf(source)))
      expect(fs.existsSync(`${mount.path}/at the top`)).toBe(true)
    })

    test('what happens elsewhere on the file system is of no interest', async () => {
      const { watch: before } = await mount.status()
      for (let i = 0; i < 10; i++) fs.writeFileSync(`${filesystem.path}/outside${i}`, '')
      await eventually(async () => expect((await mount.status()).watch!.events).toBeGreaterThan(before!.events))
      expect((await mount.status()).watch!.notices).toBe(before!.notices)
    })
  })
}

describeWith(['root', 'loop', 'fuse', 'xfs'], 'without --watch', () => {
  test('the kernel goes on believing what it was told: the tests above would see nothing', async () => {
    await using filesystem = await loopFilesystem('xfs')
    plant(`${filesystem.path}/d`)
    await using mount = await mounted(filesystem.path, { flags: { timeout: AN_HOUR } })
    const before = statOf(`${mount.path}/d/other`)
    fs.chmodSync(`${filesystem.path}/d/other`, 0o600)
    fs.renameSync(`${filesystem.path}/d/file`, `${filesystem.path}/d/renamed`)
    await sleep(500)
    expect(statOf(`${mount.path}/d/other`)).toEqual(before)
    expect((await mount.status()).watch).toBeUndefined()
  })
})

/** So much shared data makes a home at once. */
const SIZE = 2 * MEBIBYTE

/** Makes a file that is served in this way once its original, where it has one, has been read. */
const MAKE = {
  private: (file: string) => writeSynced(file, noise(SIZE, 1)),
  pristine(file: string) {
    writeSynced(`${file}.original`, noise(SIZE, 2))
    clone(`${file}.original`, file)
  },
  mapped(file: string) {
    MAKE.pristine(file)
    overwrite(file, 7 * PAGE, noise(2 * PAGE, 3))
  },
}

const OPEN_CHANGES: Record<string, (file: string) => void> = {
  'overwrite shared pages': (file) => overwrite(file, SIZE / 2, noise(5000, 4), false),
  append: (file) => fs.appendFileSync(file, noise(10_000, 5)),
  truncate: (file) => fs.truncateSync(file, SIZE / 2 + 17),
}

const WAYS: Record<string, { flags: object; args?: string[] }> = {
  'with passthrough': { flags: {} },
  'through the daemon': { flags: { passthrough: false } },
  'diverged cached': { flags: {}, args: ['--diverged', 'cached'] },
  'read-only': { flags: { readOnly: true } },
}

describeWith(['root', 'loop', 'fuse', 'xfs', 'program:python3'], 'files that are open while they change below', () => {
  let filesystem: LoopFilesystem
  beforeAll(async () => {
    filesystem = await loopFilesystem('xfs')
  })
  afterAll(() => filesystem?.[Symbol.asyncDispose]())

  for (const [way, { flags, args = [] }] of Object.entries(WAYS)) {
    describe(way, () => {
      let mount: Mounted
      beforeAll(async () => {
        mount = await mounted(filesystem.path, {
          flags: { watch: true, timeout: AN_HOUR, minShare: '64K', ...flags },
          args,
        })
      })
      afterAll(() => mount?.[Symbol.asyncDispose]())

      for (const served of Object.keys(MAKE) as (keyof typeof MAKE)[])
        for (const [change, make] of Object.entries(OPEN_CHANGES))
          test(`${served}: ${change}`, async () => {
            const name = `${way} ${served} ${change}`
            const below = `${filesystem.path}/${name}`
            MAKE[served](below)
            await settle()
            await using client = startClient()
            const before = fs.readFileSync(below)
            await client.run(
              `
if os.path.exists(path + ".original"): open(path + ".original", "rb").read()
old = os.open(path, os.O_RDONLY)
whole(old)
memory = mmap.mmap(old, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
digest(memory)`,
              { path: `${mount.path}/${name}` },
            )
            const { files, passthrough } = await mount.status()
            const isSnapshot = served === 'pristine' && passthrough
            if (served === 'mapped') expect(files.mapped).toBeGreaterThan(0)

            make(below)
            const now = fs.readFileSync(below)
            // A home that is passed through is a snapshot for those who have it open; everybody else sees what is there now.
            const expected = isSnapshot ? before : now
            await eventually(async () => expect(await client.value('digest(whole(old))')).toBe(digest(expected)))
            const length = Math.min(before.length, expected.length)
            expect(await client.value('digest(memory[:length])', { length })).toBe(digest(expected.subarray(0, length)))
            await eventually(async () => expect(await client.value('os.stat(path).st_size')).toBe(now.length))
            expect(await client.value('digest(open(path, "rb").read())')).toBe(digest(now))
          })

      test('which were opened for writing and closed again, unchanged, still share', async () => {
        const below = `${filesystem.path}/${way} untouched`
        MAKE.mapped(below)
        await settle()
        await using client = startClient()
        const above = `${mount.path}/${way} untouched`
        await client.run('open(path + ".original", "rb").read(); f = os.open(path, os.O_RDONLY); whole(f)', {
          path: above,
        })
        fs.closeSync(fs.openSync(below, 'r+'))
        fs.chmodSync(`${below}.original`, 0o600)
        await eventually(() => expect(fs.statSync(`${above}.original`).mode & 0o777).toBe(0o600))
        const { bytesRead: before } = await mount.status()
        await client.run('whole(f)')
        const { bytesRead } = await mount.status()
        if (way !== 'diverged cached') expect(bytesRead.fromHomes - before.fromHomes).toBe(SIZE - 2 * PAGE)
      })
    })
  }
})

describeWith(['root', 'loop', 'fuse', 'xfs', 'program:python3'], 'a watched mount that is written to', () => {
  test('does not tell the kernel what came from it, and both sides see the other', async () => {
    await using filesystem = await loopFilesystem('xfs')
    fs.mkdirSync(`${filesystem.path}/d`)
    await using mount = await mounted(filesystem.path, {
      flags: { watch: true, timeout: AN_HOUR, passthrough: false },
    })
    const above = `${mount.path}/d`
    const below = `${filesystem.path}/d`
    expect(seen(above)).toEqual(seen(below))
    for (const [name, change] of Object.entries(CHANGES)) {
      plant(`${below}/${name}`)
      await eventually(() => expect(seen(above)).toEqual(seen(below)))
      const before = await quietWatch(mount)
      if (name === 'clone over it' || name === 'store through a mapping') continue
      change(`${above}/${name}`)
      expect(seen(above)).toEqual(seen(below))
      expect((await mount.status()).watch, name).toEqual(before)
    }
  })

  test('the snapshot that a writer leaves behind has the attributes of the file', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const below = `${filesystem.path}/file`
    writeSynced(`${below}.original`, noise(16 * MEBIBYTE, 2))
    clone(`${below}.original`, below)
    await settle()
    await using mount = await mounted(filesystem.path, { flags: { watch: true, timeout: AN_HOUR } })
    await using client = startClient()
    await client.run(
      `
open(path + ".original", "rb").read()
reader = os.open(path, os.O_RDONLY)
before = os.fstat(reader)
writer = os.open(path, os.O_WRONLY)
os.pwrite(writer, b"x" * 100, 0)`,
      { path: `${mount.path}/file` },
    )
    const { mtimeNs } = fs.statSync(below, { bigint: true })
    expect(await client.value('str(os.fstat(reader).st_mtime_ns)')).toBe(String(mtimeNs))
    await client.run('os.pwrite(writer, b"y" * 100, 0)')
    const later = fs.statSync(below, { bigint: true }).mtimeNs
    expect(await client.value('str(os.fstat(reader).st_mtime_ns)')).toBe(String(later))
  })
})

describeWith(['root', 'loop', 'fuse', 'xfs'], 'a watcher that dies', () => {
  test('is replaced, and nothing is missed', async () => {
    await using filesystem = await loopFilesystem('xfs')
    plant(`${filesystem.path}/d`)
    const env = {
      NODE_OPTIONS: `--require=${pythonProgram('kill-worker.cjs')}`,
      KILL_THREADS: 'samepage-watcher',
    }
    await using mount = await mounted(filesystem.path, {
      flags: { watch: true, timeout: AN_HOUR },
      env,
      maySuffer: true,
    })
    const above = `${mount.path}/d`
    const below = `${filesystem.path}/d`
    for (const change of ['append', 'rename', 'chmod of the top']) {
      expect(seen(above)).toEqual(seen(below))
      process.kill((await mount.status()).pid, 'SIGUSR2')
      CHANGES[change]!(below)
      await eventually(() => expect(seen(above)).toEqual(seen(below)))
    }
    await eventually(async () => expect((await mount.status()).workers.restarts).toBeGreaterThan(0))
    expect(mount.stderr).toContain('the watcher died and was replaced')
    expect(await mount.unmount()).toBe(0)
  })
})

describeWith(['root', 'loop', 'fuse', 'xfs'], 'where there can be no watch', () => {
  test('--watch is an error that says why', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const at = path.join(filesystem.directory, 'mnt')
    fs.mkdirSync(at)
    fs.chmodSync(at, 0o777)
    const user = { uid: 65_534, gid: 65_534, env: { XDG_RUNTIME_DIR: at } }
    const asUser = samepage(['mount', '--watch', filesystem.path, at], user)
    expect([asUser.status, asUser.stderr]).toEqual([
      1,
      'samepage: --watch cannot be had: it needs CAP_SYS_ADMIN in the initial user namespace: mount as root\n',
    ])
    const tmpfs = samepage(['mount', '--watch', '/dev/shm', at])
    expect([tmpfs.status, tmpfs.stderr]).toEqual([
      1,
      'samepage: --watch cannot be had on this tmpfs: the kernel cannot watch this file system (EOPNOTSUPP)\n',
    ])
    const crossed = samepage(['mount', '--watch', '--cross', filesystem.path, at])
    expect(crossed.status).toBe(2)
    expect(crossed.stderr).toContain("'--watch' cannot be used with option '--cross'")
    expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(at)
  })
})
