/**
 * `--merge content`: files that share no storage and have equal bytes are in memory once, and what is read through the mount is what the source has, whoever changes it.
 */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cachedPages } from '../../src/linux/cachestat.ts'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { forgetCached, MEBIBYTE, noise, overwrite, PAGE, withFd, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { arenasOf } from '../support/mappings.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { Random } from '../support/random.ts'
import { describeWith, testWith } from '../support/requires.ts'
import { digest } from '../support/seen.ts'
import { settle } from '../support/settled.ts'

const SIZE = 8 * MEBIBYTE
const SEED = Number(process.env.SAMEPAGE_SEED ?? Date.now() % 1e6)
const MERGE = ['--merge', 'content', '--memory', '64MiB', '--merge-cpu', '100%']

for (const kind of ['ext4', 'xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', kind], `merged content on ${kind}`, () => {
    let filesystem: LoopFilesystem
    let mount: Mounted
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind)
      mount = await mounted(filesystem.path, { args: MERGE })
    })
    afterAll(async () => {
      await mount?.[Symbol.asyncDispose]()
      await filesystem?.[Symbol.asyncDispose]()
    })

    /** A file that is old enough to be held in the arena, and its bytes. */
    async function settled(name: string, bytes: Buffer): Promise<Buffer> {
      writeSynced(`${filesystem.path}/${name}`, bytes)
      await settle()
      return bytes
    }

    const fromArena = async () => (await mount.status()).bytesRead.fromArena!

    test('two copies that share no storage take the memory of one, and the kernel holds none', async () => {
      const bytes = noise(SIZE, 1)
      await settled('one', bytes)
      await settled('two', bytes)
      for (const name of ['one', 'two']) forgetCached(`${filesystem.path}/${name}`)
      expect(fs.readFileSync(`${mount.path}/one`).equals(bytes)).toBe(true)
      expect(fs.readFileSync(`${mount.path}/two`).equals(bytes)).toBe(true)
      await eventually(async () => {
        const { merge } = await mount.status()
        expect(merge).toMatchObject({ pagesShared: SIZE / PAGE, pagesSharing: SIZE / PAGE, bytesSaved: SIZE })
        expect(merge!.pageBytes).toBe(SIZE)
      })
      for (const name of ['one', 'two']) expect(withFd(`${filesystem.path}/${name}`, cachedPages)).toBe(0)
      // Hot: nothing is loaded again.
      const { bytesLoaded } = (await mount.status()).merge!
      expect(fs.readFileSync(`${mount.path}/two`).equals(bytes)).toBe(true)
      expect((await mount.status()).merge!.bytesLoaded).toBe(bytesLoaded)
    })

    test('what a reader has open is written through the mount: everybody sees it, and the rest stays merged', async () => {
      const bytes = await settled('written', noise(SIZE, 2))
      const reader = fs.openSync(`${mount.path}/written`, 'r')
      const read = Buffer.alloc(SIZE)
      try {
        fs.readSync(reader, read, 0, SIZE, 0)
        expect(read.equals(bytes)).toBe(true)
        const writer = fs.openSync(`${mount.path}/written`, 'r+')
        const change = noise(3 * PAGE, 3)
        fs.writeSync(writer, change, 0, change.length, 5 * PAGE + 100)
        change.copy(bytes, 5 * PAGE + 100)
        fs.readSync(reader, read, 0, SIZE, 0)
        expect(read.equals(bytes)).toBe(true)
        expect(fs.readFileSync(`${filesystem.path}/written`).equals(bytes)).toBe(true)
        const before = await fromArena()
        fs.readSync(reader, read, 0, SIZE, 0)
        expect((await fromArena()) - before).toBe(SIZE - 4 * PAGE)

        fs.ftruncateSync(writer, MEBIBYTE + 17)
        fs.ftruncateSync(writer, 2 * MEBIBYTE)
        bytes.fill(0, MEBIBYTE + 17)
        const length = fs.readSync(reader, read, 0, SIZE, 0)
        expect(read.subarray(0, length).equals(bytes.subarray(0, 2 * MEBIBYTE))).toBe(true)
        fs.closeSync(writer)
      } finally {
        fs.closeSync(reader)
      }
      await settle()
      const before = await fromArena()
      expect(fs.readFileSync(`${mount.path}/written`).equals(bytes.subarray(0, 2 * MEBIBYTE))).toBe(true)
      expect((await fromArena()) - before).toBe(2 * MEBIBYTE)
    })

    testWith(['one-node'], '--numa on a machine of one node changes nothing, and is not spoken of', async () => {
      for (const numa of ['replicate', 'inode']) {
        await using other = await mounted(filesystem.path, { args: [...MERGE, '--numa', numa] })
        const bytes = await settled('one node', noise(MEBIBYTE, 20))
        expect(fs.readFileSync(`${other.path}/one node`).equals(bytes)).toBe(true)
        const { numa: report, bytesRead } = await other.status()
        expect(report).toBeUndefined()
        expect(bytesRead.fromArena).toBe(MEBIBYTE)
      }
    })

    test('a file that is opened for writing first is passed through', async () => {
      await settled('first', noise(MEBIBYTE, 4))
      const fd = fs.openSync(`${mount.path}/first`, 'r+')
      const before = await fromArena()
      fs.readFileSync(`${mount.path}/first`)
      fs.closeSync(fd)
      expect(await fromArena()).toBe(before)
    })

    test('a file that somebody below has open for writing is passed through', async () => {
      await settled('being written', noise(MEBIBYTE, 10))
      const below = fs.openSync(`${filesystem.path}/being written`, 'r+')
      const before = await fromArena()
      fs.readFileSync(`${mount.path}/being written`)
      expect(await fromArena()).toBe(before)
      fs.closeSync(below)
      fs.readFileSync(`${mount.path}/being written`)
      expect((await fromArena()) - before).toBe(MEBIBYTE)
    })

    test('who opens it with O_DIRECT wants no cache', async () => {
      await settled('direct', noise(MEBIBYTE, 11))
      const before = await fromArena()
      const fd = fs.openSync(`${mount.path}/direct`, fs.constants.O_RDONLY | fs.constants.O_DIRECT)
      fs.closeSync(fd)
      const reader = fs.openSync(`${mount.path}/direct`, 'r')
      fs.closeSync(reader)
      expect(await fromArena()).toBe(before)
      expect(fs.readFileSync(`${mount.path}/direct`).equals(noise(MEBIBYTE, 11))).toBe(true)
    })

    for (const [name, change] of Object.entries({
      append: (file: string) => fs.appendFileSync(file, noise(100_000, 6)),
      truncate: (file: string) => fs.truncateSync(file, MEBIBYTE + 17),
      overwrite: (file: string) => overwrite(file, MEBIBYTE, noise(5000, 7)),
      'write in place': (file: string) => fs.writeFileSync(file, noise(300_000, 8)),
      replace(file: string) {
        writeSynced(`${file}.new`, noise(MEBIBYTE, 9))
        fs.renameSync(`${file}.new`, file)
      },
    }))
      test(`a change below is seen by the next open: ${name}`, async () => {
        const below = `${filesystem.path}/below ${name}`
        const through = `${mount.path}/below ${name}`
        const bytes = await settled(`below ${name}`, noise(2 * MEBIBYTE, 5))
        const reader = fs.openSync(through, 'r')
        try {
          fs.readSync(reader, Buffer.alloc(MEBIBYTE), 0, MEBIBYTE, 0)
          change(below)
          const now = fs.readFileSync(below)
          expect(fs.readFileSync(through).equals(now)).toBe(true)
          // Who had it open before sees pages of then and of now, and no others.
          const page = Buffer.alloc(PAGE)
          for (let at = 0; at < bytes.length; at += PAGE) {
            const length = fs.readSync(reader, page, 0, PAGE, at)
            const seen = page.subarray(0, length)
            const isKnown = [bytes, now].some((held) => held.subarray(at, at + PAGE).equals(seen))
            if (!isKnown && name !== 'truncate') expect.fail(`at ${at} it sees what never was`)
          }
        } finally {
          fs.closeSync(reader)
        }
        await settle()
        expect(fs.readFileSync(through).equals(fs.readFileSync(below))).toBe(true)
      })

    test('files with equal times and sizes are kept apart', async () => {
      const names = Array.from({ length: 16 }, (_, i) => `alike ${i}`)
      for (const [i, name] of names.entries()) writeSynced(`${filesystem.path}/${name}`, noise(300_000, 20 + i))
      await settle()
      for (const [i, name] of names.entries())
        expect(fs.readFileSync(`${mount.path}/${name}`).equals(noise(300_000, 20 + i))).toBe(true)
    })

    test('holes and a short last page', async () => {
      const bytes = Buffer.alloc(3 * MEBIBYTE + 1234)
      noise(1000, 40).copy(bytes, MEBIBYTE + 50)
      noise(34, 41).copy(bytes, bytes.length - 34)
      await settled('holes', bytes)
      expect(fs.readFileSync(`${mount.path}/holes`).equals(bytes)).toBe(true)
      expect(fs.readFileSync(`${mount.path}/holes`).equals(bytes)).toBe(true)
    })

    test('mapped and executed', async () => {
      const bytes = await settled('mapped', noise(2 * MEBIBYTE, 50))
      await using client = startClient()
      await client.run('f = os.open(path, os.O_RDWR)\nos.close(f)\nf = os.open(path, os.O_RDONLY)', {
        path: `${mount.path}/mapped`,
      })
      await client.run('m = mmap.mmap(f, 0, prot=mmap.PROT_READ)')
      expect(await client.value('digest(m[:])')).toBe(digest(bytes))
      fs.copyFileSync(process.execPath, `${filesystem.path}/node`)
      fs.chmodSync(`${filesystem.path}/node`, 0o755)
      await settle()
      expect(execFileSync(`${mount.path}/node`, ['-p', '6 * 7'], { encoding: 'utf8' })).toBe('42\n')
    })
  })

describeWith(['root', 'loop', 'fuse', 'ext4'], 'the arena behind a mount', () => {
  let filesystem: LoopFilesystem
  beforeAll(async () => {
    filesystem = await loopFilesystem('ext4')
  })
  afterAll(() => filesystem?.[Symbol.asyncDispose]())

  test('keeps to its memory, and what it evicts is read again', async () => {
    const memoryBytes = MEBIBYTE
    await using mount = await mounted(filesystem.path, { args: ['--merge', 'content', '--memory', '1MiB'] })
    const bytes = noise(SIZE, 60)
    writeSynced(`${filesystem.path}/large`, bytes)
    await settle()
    const fd = fs.openSync(`${mount.path}/large`, 'r')
    const page = Buffer.alloc(PAGE)
    for (let i = 0; i < 3000; i++) {
      const at = ((i * 7919) % (SIZE / PAGE)) * PAGE
      fs.readSync(fd, page, 0, PAGE, at)
      if (!page.equals(bytes.subarray(at, at + PAGE))) expect.fail(`wrong bytes at ${at}`)
    }
    fs.closeSync(fd)
    expect(fs.readFileSync(`${mount.path}/large`).equals(bytes)).toBe(true)
    const { merge } = await mount.status()
    expect(merge!.evicted).toBeGreaterThan(0)
    expect(merge!.pageBytes + merge!.indexBytes).toBeLessThanOrEqual(memoryBytes)
  })

  test('merges nothing across domains', async () => {
    const bytes = noise(MEBIBYTE, 61)
    for (const directory of ['a', 'b']) fs.mkdirSync(`${filesystem.path}/${directory}`)
    for (const name of ['a/1', 'a/2', 'b/1']) writeSynced(`${filesystem.path}/${name}`, bytes)
    await settle()
    await using mount = await mounted(filesystem.path, { args: [...MERGE, '--domain', 'dir'] })
    for (const name of ['a/1', 'a/2', 'b/1']) expect(fs.readFileSync(`${mount.path}/${name}`).equals(bytes)).toBe(true)
    await eventually(async () => expect((await mount.status()).merge!.pagesSharing).toBe(MEBIBYTE / PAGE))
    expect((await mount.status()).merge!.pageBytes).toBe(2 * MEBIBYTE)
  })

  test('is not there unless it is asked for', async () => {
    await using mount = await mounted(filesystem.path)
    const { merge, pid } = await mount.status()
    expect(merge).toBeUndefined()
    expect(arenasOf(pid)).toEqual([])
  })

  test(`is read and changed by several processes at once, seed ${SEED}`, async () => {
    const random = new Random(SEED)
    await using mount = await mounted(filesystem.path, { args: ['--merge', 'content', '--memory', '2MiB'] })
    const names = ['x', 'y', 'z']
    const truth = new Map(names.map((name) => [name, noise(MEBIBYTE, 70)]))
    for (const [name, bytes] of truth) writeSynced(`${filesystem.path}/${name}`, bytes)
    await settle()
    for (let round = 0; round < 8; round++) {
      // Readers first: so that the file is held in the arena while it is written.
      const readers = names.map((name) => fs.openSync(`${mount.path}/${name}`, 'r'))
      await using client = startClient()
      await client.run('fs = [os.open(p, os.O_RDWR) for p in paths]', {
        paths: names.map((name) => `${mount.path}/${name}`),
      })
      for (let step = 0; step < 150; step++) {
        const which = random.below(names.length)
        const bytes = truth.get(names[which]!)!
        const at = random.below(MEBIBYTE)
        const length = 1 + random.below(Math.min(3 * PAGE, MEBIBYTE - at))
        if (random.below(100) < 15) {
          const change = noise(length, 1000 * round + step)
          change.copy(bytes, at)
          await client.run('os.pwrite(fs[i], bytes.fromhex(data), at)', { i: which, at, data: change.toString('hex') })
        } else if (random.below(100) < 2) {
          bytes.fill(0, at)
          await client.run('os.ftruncate(fs[i], at); os.ftruncate(fs[i], size)', { i: which, at, size: MEBIBYTE })
        } else {
          const read = Buffer.alloc(length)
          expect(fs.readSync(readers[which]!, read, 0, length, at)).toBe(length)
          if (!read.equals(bytes.subarray(at, at + length))) expect.fail(`${names[which]}: wrong bytes at ${at}`)
        }
      }
      for (const reader of readers) fs.closeSync(reader)
      await client.run('[os.close(f) for f in fs]')
      await settle()
    }
    for (const [name, bytes] of truth) expect(fs.readFileSync(`${filesystem.path}/${name}`).equals(bytes)).toBe(true)
    expect((await mount.status()).bytesRead.fromArena).toBeGreaterThan(0)
  })
})

describeWith(['root', 'fuse'], 'the arena', () => {
  test('cannot be had on tmpfs, where times do not tell of stores', async () => {
    const source = fs.mkdtempSync('/dev/shm/samepage-merge-')
    try {
      await expect(mounted(source, { args: MERGE })).rejects.toThrow('--merge cannot be had on tmpfs')
    } finally {
      fs.rmdirSync(source)
    }
  })
})

describeWith(['root', 'loop', 'fuse', 'ext4'], 'merged content with nothing as the least to share', () => {
  test('an empty file is served by itself', async () => {
    await using ext4 = await loopFilesystem('ext4', { size: 16 * MEBIBYTE })
    writeSynced(`${ext4.path}/empty`, Buffer.alloc(0))
    writeSynced(`${ext4.path}/small`, noise(100, 1))
    await settle()
    await using mount = await mounted(ext4.path, { args: MERGE, flags: { minShare: 0 } })
    expect(fs.readFileSync(`${mount.path}/empty`)).toHaveLength(0)
    expect(fs.readFileSync(`${mount.path}/small`).equals(noise(100, 1))).toBe(true)
    const { bytesRead } = await mount.status()
    expect(bytesRead.fromArena).toBe(100)
  })
})
