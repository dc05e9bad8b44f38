/** Files whose names lie on another file system than they do: behind a symlink, or mounted over a single file. Equal addresses mean nothing across file systems. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { PageCache } from '../../src/index.ts'
import { expectEqualBytes } from '../support/bytes.ts'
import { clone, MEBIBYTE, noise, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const SIZE = 4 * MEBIBYTE

async function expectItsBytes(cache: PageCache, path: string): Promise<void> {
  await using file = await cache.open(path)
  const buffer = Buffer.alloc(SIZE)
  await file.read(buffer, { position: 0 })
  expectEqualBytes(buffer, fs.readFileSync(path), path)
}

/** A file, and a clone of it, on which the bytes are those of `seed`. */
function writeClones(directory: string, seed: number): void {
  writeSynced(`${directory}/image`, noise(SIZE, seed))
  clone(`${directory}/image`, `${directory}/clone`)
}

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', kind], `files that lie elsewhere, on ${kind}`, () => {
    test('are given their own bytes, though those of another file system have their addresses', async () => {
      await using one = await loopFilesystem(kind)
      await using other = await loopFilesystem(kind)
      writeClones(one.path, 1)
      writeClones(other.path, 2)
      fs.symlinkSync(`${other.path}/image`, `${one.path}/link`)
      fs.writeFileSync(`${one.path}/mounted`, '')
      run('mount', '--bind', `${other.path}/clone`, `${one.path}/mounted`)
      await settle()
      try {
        await using cache = await PageCache.create({ memory: '64MiB' })
        await using home = await cache.open(`${one.path}/image`)
        await home.read(Buffer.alloc(SIZE), { position: 0 })
        expect(cache.stats().homes).toBe(1)
        for (const name of ['mounted', 'link', 'mounted', 'clone']) await expectItsBytes(cache, `${one.path}/${name}`)
      } finally {
        run('umount', `${one.path}/mounted`)
      }
    })

    test('share what they share there, wherever the link to them lies', async () => {
      await using filesystem = await loopFilesystem(kind)
      writeClones(filesystem.path, 3)
      const link = `${filesystem.directory}/link`
      fs.symlinkSync(`${filesystem.path}/image`, link)
      await settle()
      await using cache = await PageCache.create({ memory: '64MiB' })
      await expectItsBytes(cache, link)
      await expectItsBytes(cache, `${filesystem.path}/clone`)
      expect(cache.stats()).toMatchObject({ homes: 1, bytesLoaded: SIZE })
    })

    test('are read by themselves where no directory of their file system is known', async () => {
      await using filesystem = await loopFilesystem(kind)
      writeClones(filesystem.path, 4)
      const mounted = `${filesystem.directory}/mounted`
      fs.writeFileSync(mounted, '')
      run('mount', '--bind', `${filesystem.path}/clone`, mounted)
      await settle()
      await using cache = await PageCache.create({ memory: '64MiB' })
      await expectItsBytes(cache, mounted)
      expect(cache.stats().homes).toBe(0)
    })
  })
