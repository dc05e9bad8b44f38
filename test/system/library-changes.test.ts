/** What others do to files below the library is seen at the next open; and nobody is ever given the bytes of another file. */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { expect, test } from 'vitest'
import { type CachedFile, PageCache } from '../../src/index.ts'
import { expectEqualBytes } from '../support/bytes.ts'
import { clone, KIBIBYTE, MEBIBYTE, noise, overwrite, PAGE, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { arenasOf } from '../support/mappings.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const SIZE = MEBIBYTE + 1000
const O_ACCMODE = 3

function contentOf(file: CachedFile): Buffer {
  const buffer = Buffer.alloc(4 * MEBIBYTE)
  return buffer.subarray(0, file.readSync(buffer, { position: 0 }))
}

/** Descriptors of this process by which the file can be written. */
function writersOf(path: string): number {
  return fs.readdirSync('/proc/self/fd').filter((fd) => {
    try {
      if (fs.readlinkSync(`/proc/self/fd/${fd}`) !== path) return false
      const flags = /^flags:\s*([0-7]+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!
      return (Number.parseInt(flags, 8) & O_ACCMODE) !== fs.constants.O_RDONLY
    } catch {
      // It was closed meanwhile: that of the directory itself.
      return false
    }
  }).length
}

/** Opens the file once more: whether all of it is in memory then, and the bytes that have been loaded. */
async function openedAgain(cache: PageCache, path: string): Promise<{ isHit: boolean; bytesLoaded: number }> {
  await using file = await cache.open(path)
  const buffer = Buffer.alloc(4 * MEBIBYTE)
  const isHit = file.tryRead(buffer, { position: 0 }) !== undefined
  expectEqualBytes(contentOf(file), fs.readFileSync(path), 'opened again')
  return { isHit, bytesLoaded: cache.stats().bytesLoaded }
}

const CHANGES: Record<string, (path: string) => void> = {
  'a page is rewritten': (path) => overwrite(path, 10 * PAGE, noise(PAGE, 77)),
  'a page is rewritten and mtime put back': (path) => {
    const { atime, mtime } = fs.statSync(path)
    overwrite(path, 10 * PAGE, noise(PAGE, 78))
    fs.utimesSync(path, atime, mtime)
  },
  'it grows within its last page': (path) => fs.appendFileSync(path, noise(100, 5)),
  'it grows by pages': (path) => fs.appendFileSync(path, noise(20 * PAGE, 6)),
  'it is cut': (path) => fs.truncateSync(path, 3 * PAGE + 7),
  'it is cut and as long as before': (path) => {
    fs.truncateSync(path, 3 * PAGE + 7)
    fs.truncateSync(path, SIZE)
  },
  'it is emptied': (path) => fs.truncateSync(path, 0),
  'another one takes its name': (path) => {
    writeSynced(`${path}.new`, noise(SIZE, 99))
    fs.renameSync(`${path}.new`, path)
  },
  'a clone of another takes its place': (path) => {
    fs.truncateSync(path, 0)
    writeSynced(`${path}.other`, noise(SIZE, 55))
    run('cp', '--reflink=always', `${path}.other`, path)
  },
  'it is removed, and its inode is another file': (path) => {
    fs.unlinkSync(path)
    run('sync', '-f', `${path}/..`.replace(/\/[^/]*\/\.\.$/, ''))
    writeSynced(path, noise(SIZE, 13))
  },
}

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', kind], `changes by others on ${kind}`, () => {
    for (const isClone of [true, false])
      test(`are seen at the next open of ${isClone ? 'clones' : 'files that share nothing'}`, async () => {
        await using filesystem = await loopFilesystem(kind)
        const content = noise(SIZE, 1)
        const paths = Object.keys(CHANGES).map((_, i) => `${filesystem.path}/file${i}`)
        writeSynced(`${filesystem.path}/original`, content)
        for (const path of paths)
          if (isClone) clone(`${filesystem.path}/original`, path)
          else writeSynced(path, content)
        run('sync', '-f', filesystem.path)
        await settle()
        await using cache = await PageCache.create({ memory: '64MiB', yieldUnderPressure: false })
        for (const [i, [name, change]] of Object.entries(CHANGES).entries()) {
          const path = paths[i]!
          // Closed meanwhile, and open meanwhile.
          for (const isOpen of [false, true]) {
            const before = fs.readFileSync(path)
            const early = await cache.open(path)
            expectEqualBytes(contentOf(early), before, `${name}, before`)
            if (!isOpen) await early.close()
            const { ino } = fs.statSync(path)
            change(path)
            const after = fs.readFileSync(path)
            await using late = await cache.open(path)
            expectEqualBytes(contentOf(late), after, `${name}, after`)
            if (isOpen) {
              const isSame = fs.statSync(path).ino === ino && !name.startsWith('it is removed')
              expectEqualBytes(contentOf(early), isSame ? after : before, `${name}, open before`)
              await early.close()
            }
          }
        }
        await using original = await cache.open(`${filesystem.path}/original`)
        expectEqualBytes(contentOf(original), content, 'the original')
        cache.checkInvariants()
      })

    test('who looks at what was opened before does not lead others astray, where there are many runs', async () => {
      await using filesystem = await loopFilesystem(kind)
      const path = `${filesystem.path}/diverged`
      writeSynced(`${path}.clone`, noise(4 * MEBIBYTE, 4))
      for (const name of [path, `${path}.third`]) clone(`${path}.clone`, name)
      for (let page = 0; page < 400; page += 8) overwrite(path, page * PAGE, noise(PAGE, page + 1))
      run('sync', '-f', filesystem.path)
      await settle()
      await using cache = await PageCache.create({
        memory: '64MiB',
        minShareBytes: 16 * KIBIBYTE,
        yieldUnderPressure: false,
      })
      await using clones = await cache.open(`${path}.clone`)
      expectEqualBytes(contentOf(clones), fs.readFileSync(`${path}.clone`), 'the clone')
      await using early = await cache.open(path)
      expectEqualBytes(contentOf(early), fs.readFileSync(path), 'before')
      expect(cache.stats().homes).toBeGreaterThan(0)
      for (let page = 2; page < 400; page += 8) overwrite(path, page * PAGE, noise(PAGE, page + 1000))
      await using late = await cache.open(path)
      // It looks with its old map first.
      const buffer = Buffer.alloc(PAGE)
      for (let page = 0; page < 400; page++) early.tryRead(buffer, { position: page * PAGE })
      const now = fs.readFileSync(path)
      await late.advise('random')
      for (let page = 0; page < 400; page++) {
        late.readSync(buffer, { position: page * PAGE })
        expectEqualBytes(
          buffer,
          now.subarray(page * PAGE, (page + 1) * PAGE),
          `page ${page} of who opened it after the change`,
        )
      }
      expectEqualBytes(contentOf(early), fs.readFileSync(path), 'who opened it before')
      expectEqualBytes(contentOf(clones), fs.readFileSync(`${path}.clone`), 'the clone, after all')
      cache.checkInvariants()
    })

    test('a file that was written here stays cached over later opens once nobody has it open for writing, and is shared again', async () => {
      await using filesystem = await loopFilesystem(kind)
      const path = `${filesystem.path}/file`
      writeSynced(path, noise(SIZE, 3))
      clone(path, `${path}.clone`)
      run('sync', '-f', filesystem.path)
      await settle()
      await using cache = await PageCache.create({ memory: '8MiB', yieldUnderPressure: false })
      await using kept = await cache.open(path)
      await using _other = await cache.open(`${path}.clone`)
      const writer = await cache.open(path, 'r+')
      const written = writer.write(noise(PAGE, 4), { position: 5 * PAGE })
      const isSynced = writer.sync()
      // What is under way goes on to its end.
      await writer.close()
      await Promise.all([written, isSynced])
      expectEqualBytes(contentOf(kept), fs.readFileSync(path), 'written')
      expect(writersOf(path)).toBe(0)
      run('sync', '-f', filesystem.path)
      await settle()
      const { bytesLoaded } = await openedAgain(cache, path)
      for (let i = 0; i < 3; i++) expect(await openedAgain(cache, path)).toEqual({ isHit: true, bytesLoaded })
      expect(cache.stats().sharedBytes).toBeGreaterThan(SIZE)
      // Another writer is noticed as ever.
      overwrite(path, 10 * PAGE, noise(PAGE, 78))
      expect((await openedAgain(cache, path)).isHit).toBe(false)
      cache.checkInvariants()
    })

    test('a file that is open for writing here, and was not written, stays cached over later opens; others who write it are noticed', async () => {
      await using filesystem = await loopFilesystem(kind)
      const path = `${filesystem.path}/file`
      writeSynced(path, noise(512 * KIBIBYTE, 3))
      clone(path, `${path}.clone`)
      run('sync', '-f', filesystem.path)
      await settle()
      await using cache = await PageCache.create({ memory: '8MiB', yieldUnderPressure: false })
      await using _writer = await cache.open(path, 'r+')
      // How the first one is served is to be decided anew from now on.
      await using _other = await cache.open(`${path}.clone`)
      const { bytesLoaded } = await openedAgain(cache, path)
      for (let i = 0; i < 3; i++) expect(await openedAgain(cache, path)).toEqual({ isHit: true, bytesLoaded })
      const foreign = fs.openSync(path, 'r+')
      for (let i = 0; i < 3; i++) {
        fs.writeSync(foreign, noise(PAGE, 80 + i), 0, PAGE, 10 * PAGE)
        expect((await openedAgain(cache, path)).isHit).toBe(false)
      }
      fs.closeSync(foreign)
      cache.checkInvariants()
    })

    test('a file that others made longer is read as it is when it is written through the cache', async () => {
      await using filesystem = await loopFilesystem(kind)
      const path = `${filesystem.path}/file`
      for (const isShared of [true, false]) {
        writeSynced(path, noise(SIZE, 3))
        if (isShared) clone(path, `${path}.clone`)
        else fs.rmSync(`${path}.clone`)
        run('sync', '-f', filesystem.path)
        await settle()
        await using cache = await PageCache.create({ memory: '8MiB', yieldUnderPressure: false })
        await using file = await cache.open(path, 'r+')
        contentOf(file)
        for (const length of [50, 3000, 5 * PAGE]) {
          fs.appendFileSync(path, noise(length, length))
          if (length === 3000) await file.write(noise(10, 1), { position: 100 })
          else file.writeSync(noise(10, 1), { position: 100 })
          expectEqualBytes(contentOf(file), fs.readFileSync(path), `shared ${isShared}, ${length} more`)
        }
        fs.truncateSync(path, 20 * PAGE + 1)
        file.writeSync(noise(10, 2), { position: 0 })
        expectEqualBytes(contentOf(file), fs.readFileSync(path), `shared ${isShared}, shorter`)
        cache.checkInvariants()
      }
    })
  })

describeWith(['root', 'loop', 'xfs'], 'a cache that is closed', () => {
  test('leaves nothing open, also with files, views and reads under way', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const path = `${filesystem.path}/file`
    writeSynced(path, noise(8 * MEBIBYTE, 3))
    for (const name of ['a', 'b']) clone(path, `${path}.${name}`)
    await settle()
    const descriptors = () =>
      fs
        .readdirSync('/proc/self/fd')
        .map((fd) => {
          try {
            return fs.readlinkSync(`/proc/self/fd/${fd}`)
          } catch {
            return ''
          }
        })
        .filter((target) => target.startsWith(filesystem.path))
    for (let round = 0; round < 5; round++) {
      const cache = await PageCache.create({ memory: '16MiB', yieldUnderPressure: false })
      const files = await Promise.all(['', '.a', '.b'].map((suffix) => cache.open(path + suffix, 'r+')))
      files[0]!.readSync(Buffer.alloc(MEBIBYTE), { position: 0 })
      const view = files[1]!.viewSync(0, 100)
      const reads = files.map((file) => file.read(Buffer.alloc(4 * MEBIBYTE), { position: 2 * MEBIBYTE }))
      const write = files[2]!.write(Buffer.alloc(PAGE), { position: 0 })
      expect(descriptors().length).toBeGreaterThan(4)
      const closing = cache.close()
      await Promise.allSettled([...reads, write])
      await closing
      view.dispose()
      expect(descriptors()).toEqual([])
      expect(arenasOf('self').filter(({ residentBytes }) => residentBytes > 0)).toEqual([])
      // Nor where it was not known yet how they are served.
      const brief = await PageCache.create({ memory: '16MiB', yieldUnderPressure: false })
      const opening = Promise.allSettled([brief.open(path), brief.open(`${path}.a`)])
      brief.openSync(`${path}.b`).closeSync()
      await sleep(round)
      await brief.close()
      await opening
      expect(descriptors()).toEqual([])
    }
  })
})

describeWith(['root', 'loop', 'ext4', 'linux:6.8'], 'a file system that is unmounted', () => {
  test('gives its device to a copy that was edited by block: the bytes are those of the copy', async () => {
    await using ext4 = await loopFilesystem('ext4', { size: 16 * MEBIBYTE })
    const path = `${ext4.path}/file`
    const old = noise(16 * PAGE, 21)
    writeSynced(path, old)
    await settle()
    await using cache = await PageCache.create({ memory: '4MiB' })
    const state = () => {
      const { dev, ino, ctimeNs, size } = fs.statSync(path, { bigint: true })
      return { dev, ino, ctimeNs, size }
    }
    /** Once more what was mounted before; true where the cache would know the file by nothing but the mount. */
    const remount = async (before: () => void): Promise<boolean> => {
      const known = state()
      await ext4.unmount()
      before()
      await ext4.mount(['ro'])
      return isDeepStrictEqual(state(), known)
    }
    await remount(() => {})
    let looks = 0
    // In between somebody else may get the loop device.
    for (let edit = 0; edit < 20 && looks < 2; edit++) {
      const expected = Buffer.from(fs.readFileSync(path))
      await using early = await cache.open(path)
      expectEqualBytes(contentOf(early), expected, 'before')
      await early.close()
      const isTheSame = await remount(() => {
        const image = fs.readFileSync(ext4.image)
        const at = image.indexOf(expected.subarray(0, PAGE))
        overwrite(ext4.image, at, noise(PAGE, 30 + edit))
      })
      if (!isTheSame) continue
      looks++
      const now = fs.readFileSync(path)
      expect(now.equals(expected)).toBe(false)
      await using late = await cache.open(path)
      expectEqualBytes(contentOf(late), now, 'the copy')
    }
    expect(looks).toBe(2)
  })
})
