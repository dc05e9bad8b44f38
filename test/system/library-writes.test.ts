/**
 * Writing through the library: after each change the file itself, everybody who reads through the cache, and a twin that was changed natively
 * have the same bytes, and clones have theirs as they were.
 */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { type CachedFile, PageCache } from '../../src/index.ts'
import { expectEqualBytes } from '../support/bytes.ts'
import { clone, KIBIBYTE, MEBIBYTE, noise, overwrite, PAGE, run, writeSynced } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

/** Not a whole number of pages. */
const SIZE = MEBIBYTE + 1234

interface Row {
  readonly name: string
  through(file: CachedFile): Promise<void> | void
  natively(fd: number): void
}

function writes(name: string, position: number, length: number): Row[] {
  const bytes = noise(length, position + 1)
  const natively = (fd: number) => void fs.writeSync(fd, bytes, 0, length, position)
  return [
    { name: `write ${name}`, through: (file) => file.write(bytes, { position }), natively },
    { name: `writeSync ${name}`, through: (file) => file.writeSync(bytes, { position }), natively },
  ]
}

function truncates(name: string, length: number): Row[] {
  const natively = (fd: number) => fs.ftruncateSync(fd, length)
  return [
    { name: `truncate ${name}`, through: (file) => file.truncate(length), natively },
    { name: `truncateSync ${name}`, through: (file) => file.truncateSync(length), natively },
  ]
}

const ROWS: readonly Row[] = [
  ...writes('of a page', 5 * PAGE, PAGE),
  ...writes('of a byte', 7 * PAGE + 9, 1),
  ...writes('at the beginning', 0, 100),
  ...writes('across two pages', 9 * PAGE - 50, 100),
  ...writes('of pages and parts of pages', 20 * PAGE + 1, 17 * PAGE),
  ...writes('of the last part of a page', 256 * PAGE + 1000, 234),
  ...writes('over the end', SIZE - 10, 3 * PAGE),
  ...writes('behind the end', SIZE + 5 * PAGE + 3, 500),
  ...writes('of everything', 0, SIZE + 100),
  ...writes('of more than is cached as it passes', 0, 1.5 * MEBIBYTE),
  ...truncates('to nothing', 0),
  ...truncates('to within a page', 33 * PAGE + 5),
  ...truncates('to whole pages', 50 * PAGE),
  ...truncates('to the size that it has', SIZE),
  ...truncates('to more', SIZE + 20 * PAGE + 7),
  {
    name: 'shorter, then longer: what was cut off is zeros',
    through: async (file) => {
      await file.truncate(40 * PAGE + 3)
      file.truncateSync(SIZE)
    },
    natively: (fd) => {
      fs.ftruncateSync(fd, 40 * PAGE + 3)
      fs.ftruncateSync(fd, SIZE)
    },
  },
  {
    name: 'zeros over data',
    through: (file) => file.write(new Uint8Array(4 * PAGE), { position: 60 * PAGE }),
    natively: (fd) => void fs.writeSync(fd, Buffer.alloc(4 * PAGE), 0, 4 * PAGE, 60 * PAGE),
  },
]

function readSync(file: CachedFile): Buffer {
  const buffer = Buffer.alloc(4 * MEBIBYTE)
  return buffer.subarray(0, file.readSync(buffer, { position: 0 }))
}

async function read(file: CachedFile): Promise<Buffer> {
  const buffer = Buffer.alloc(4 * MEBIBYTE)
  return buffer.subarray(0, await file.read(buffer, { position: 0 }))
}

for (const kind of ['xfs', 'ext4'] as const)
  describeWith(['root', 'loop', kind], `writes through the library on ${kind}`, () => {
    test('a table: the file, readers of all kinds, and a twin have the same bytes; clones stay as they were', async () => {
      await using filesystem = await loopFilesystem(kind)
      const at = (name: string) => `${filesystem.path}/${name}`
      const content = noise(SIZE, 3)
      writeSynced(at('original'), content)
      for (const [i, row] of ROWS.entries()) {
        for (const name of [`clone${i}`, `twin${i}`, `other${i}`])
          if (kind === 'xfs') clone(at('original'), at(name))
          else fs.copyFileSync(at('original'), at(name))
        void row
      }
      run('sync', '-f', filesystem.path)
      await settle()
      await using cache = await PageCache.create({ memory: '32MiB', yieldUnderPressure: false })
      for (const [i, { name, through, natively }] of ROWS.entries()) {
        await using writer = await cache.open(at(`clone${i}`), 'r+')
        await using reader = await cache.open(at(`clone${i}`))
        await using other = await cache.open(at(`other${i}`))
        for (const file of [writer, reader, other]) expectEqualBytes(readSync(file), content, `${name}, before`)
        using view = reader.viewSync(4 * PAGE, 6 * PAGE)
        const loaded = cache.stats().bytesLoaded
        await through(writer)
        const fd = fs.openSync(at(`twin${i}`), 'r+')
        natively(fd)
        fs.closeSync(fd)
        const wanted = fs.readFileSync(at(`twin${i}`))
        expectEqualBytes(fs.readFileSync(at(`clone${i}`)), wanted, `${name}, the file`)
        expectEqualBytes(readSync(reader), wanted, `${name}, readSync`)
        expectEqualBytes(await read(writer), wanted, `${name}, read`)
        expectEqualBytes(readSync(other), content, `${name}, another clone`)
        expectEqualBytes(
          Buffer.concat(view.parts),
          content.subarray(4 * PAGE, 10 * PAGE),
          `${name}, a view from before`,
        )
        expect([reader.size, reader.statSync().size], name).toEqual([wanted.length, wanted.length])
        cache.checkInvariants()
        // One page: one page is held more, and not more than that is read again.
        if (name.endsWith('of a byte')) expect(cache.stats().bytesLoaded - loaded).toBeLessThanOrEqual(PAGE)
      }
      if (kind === 'xfs') expect(cache.stats().homes).toBeGreaterThan(0)
    })

    test('twins: random operations through the cache and natively, equal after each', async () => {
      const seed = testSeed()
      const random = new Random(seed)
      await using filesystem = await loopFilesystem(kind)
      const at = (name: string) => `${filesystem.path}/${name}`
      const content = noise(600 * KIBIBYTE + 77, seed)
      writeSynced(at('original'), content)
      const names = ['a', 'b', 'c']
      for (const name of [...names, ...names.map((it) => `${it}.twin`)])
        if (kind === 'xfs') clone(at('original'), at(name))
        else fs.copyFileSync(at('original'), at(name))
      run('sync', '-f', filesystem.path)
      await settle()
      await using cache = await PageCache.create({
        memory: '700KiB',
        minShareBytes: 16 * KIBIBYTE,
        yieldUnderPressure: false,
      })
      let files = new Map<string, CachedFile[]>()
      const openAll = async () => {
        files = new Map()
        for (const name of names) files.set(name, [await cache.open(at(name), 'r+'), await cache.open(at(name), 'r+')])
      }
      await openAll()
      for (let step = 0; step < 600; step++) {
        const name = random.pick(names)
        const file = random.pick(files.get(name)!)
        const twin = fs.openSync(at(`${name}.twin`), 'r+')
        const size = fs.fstatSync(twin).size
        const position = random.below(size + 5 * PAGE)
        const length = random.between(1, random.pick([10, PAGE, 30 * PAGE]))
        const bytes = random.below(6) === 0 ? Buffer.alloc(length) : noise(length, random.below(10_000))
        const what = random.below(20)
        const story = `seed ${seed}, step ${step}, ${what} on ${name} at ${position}, ${length} bytes of ${size}`
        if (what < 3) {
          await file.write(bytes, { position })
          fs.writeSync(twin, bytes, 0, length, position)
        } else if (what < 6) {
          file.writeSync(bytes, { position })
          fs.writeSync(twin, bytes, 0, length, position)
        } else if (what === 6) {
          await file.truncate(position)
          fs.ftruncateSync(twin, position)
        } else if (what === 7) {
          // By somebody else, below: seen at the next open.
          for (const target of [at(name), at(`${name}.twin`)]) overwrite(target, position, bytes, false)
          ;(await cache.open(at(name))).closeSync()
        } else if (what === 8) await file.advise(random.pick(['willneed', 'dontneed'] as const))
        else if (what === 9) for (const open of files.get(name)!) release(open.viewSync(random.below(size + 1), length))
        else if (what === 10) await file.sync()
        else if (what === 11 && random.below(4) === 0) {
          for (const open of [...files.values()].flat()) await open.close()
          await settle()
          await openAll()
        } else {
          const wanted = Buffer.alloc(length)
          const count = fs.readSync(twin, wanted, 0, length, position)
          const got = Buffer.alloc(length)
          const readers = files.get(name)!
          expectEqualBytes(got.subarray(0, readers[0]!.readSync(got, { position })), wanted.subarray(0, count), story)
          expectEqualBytes(got.subarray(0, await readers[1]!.read(got, { position })), wanted.subarray(0, count), story)
        }
        fs.closeSync(twin)
        if (step % 10 === 0)
          for (const name of names) {
            const wanted = fs.readFileSync(at(`${name}.twin`))
            expectEqualBytes(fs.readFileSync(at(name)), wanted, `${story}: the file`)
            for (const open of files.get(name)!) expectEqualBytes(readSync(open), wanted, story)
            cache.checkInvariants()
          }
      }
      for (const open of [...files.values()].flat()) await open.close()
      expectEqualBytes(fs.readFileSync(at('original')), content, `seed ${seed}: the original`)
    })
  })

/** Makes a view and lets it go. */
function release(view: Disposable): void {
  view[Symbol.dispose]()
}

describeWith(['root', 'loop', 'xfs'], 'writes and loads of the same pages at the same time', () => {
  test('whatever comes first, in the end readers have what the file has', async () => {
    const seed = testSeed()
    const random = new Random(seed)
    await using filesystem = await loopFilesystem('xfs')
    const at = (name: string) => `${filesystem.path}/${name}`
    const PAGES = 40
    writeSynced(at('original'), noise(PAGES * PAGE, 1))
    clone(at('original'), at('clone'))
    await settle()
    for (const direct of [true, false]) {
      await using cache = await PageCache.create({
        memory: '1MiB',
        direct,
        minShareBytes: PAGE,
        yieldUnderPressure: false,
      })
      await using one = await cache.open(at('clone'), 'r+')
      await using two = await cache.open(at('clone'), 'r+')
      for (let round = 0; round < 60; round++) {
        const running: Promise<unknown>[] = []
        for (let i = 0; i < 30; i++) {
          const position = random.below(PAGES * PAGE)
          const bytes = noise(random.pick([10, PAGE, 5 * PAGE]), random.below(1000))
          const file = random.pick([one, two])
          switch (random.below(8)) {
            case 0:
            case 1:
              running.push(file.write(bytes, { position }))
              break
            case 2:
            case 3:
              // Lands before or after those that are under way.
              file.writeSync(bytes, { position })
              break
            case 4:
              running.push(file.truncate(random.between(10 * PAGE, PAGES * PAGE)))
              break
            case 5:
              void file.advise('dontneed', position, 5 * PAGE)
              break
            default:
              running.push(file.read(Buffer.alloc(5 * PAGE), { position }))
          }
        }
        await Promise.all(running)
        const wanted = fs.readFileSync(at('clone'))
        expectEqualBytes(readSync(one), wanted, `seed ${seed}, round ${round}, direct ${direct}`)
        expectEqualBytes(await read(two), wanted, `seed ${seed}, round ${round}, direct ${direct}, read`)
        expect(one.size).toBe(wanted.length)
        cache.checkInvariants()
      }
    }
    expectEqualBytes(fs.readFileSync(at('original')), noise(PAGES * PAGE, 1), 'the original')
  })

  test('writes that overlap reach the file in the order in which they were called, and clones keep what they had', async () => {
    const seed = testSeed()
    const random = new Random(seed)
    await using filesystem = await loopFilesystem('xfs')
    const at = (name: string) => `${filesystem.path}/${name}`
    const content = noise(40 * PAGE, 1)
    writeSynced(at('original'), content)
    clone(at('original'), at('clone'))
    await settle()
    await using cache = await PageCache.create({ memory: '1MiB', minShareBytes: PAGE, yieldUnderPressure: false })
    await using original = await cache.open(at('original'))
    await using file = await cache.open(at('clone'), 'r+')
    const wanted = Buffer.alloc(60 * PAGE)
    content.copy(wanted)
    let size = content.length
    for (let round = 0; round < 40; round++) {
      const writes: Promise<void>[] = []
      let position = random.below(50 * PAGE)
      for (let i = random.between(1, 200); i > 0; i--) {
        const bytes = noise(random.pick([1, 10, PAGE, 3 * PAGE + 5]), random.below(1000))
        if (random.below(4) === 0) position = random.below(50 * PAGE)
        if (position + bytes.length > wanted.length) position = 0
        writes.push(file.write(bytes, { position }))
        bytes.copy(wanted, position)
        size = Math.max(size, position + bytes.length)
        position += random.pick([0, bytes.length, bytes.length])
      }
      await Promise.all(writes)
      const story = `seed ${seed}, round ${round}`
      expectEqualBytes(fs.readFileSync(at('clone')), wanted.subarray(0, size), story)
      expectEqualBytes(await read(file), wanted.subarray(0, size), `${story}, through the cache`)
      expectEqualBytes(await read(original), content, `${story}, the original`)
      cache.checkInvariants()
    }
  })

  test('a write that is overtaken by another is not what readers get', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const path = `${filesystem.path}/file`
    writeSynced(path, noise(64 * PAGE, 1))
    await using cache = await PageCache.create({ memory: '1MiB', yieldUnderPressure: false })
    await using file = await cache.open(path, 'r+')
    for (let round = 0; round < 50; round++) {
      const slow = file.write(Buffer.alloc(64 * PAGE, 1), { position: 0 })
      file.writeSync(Buffer.alloc(PAGE, 2), { position: 63 * PAGE })
      await slow
      expectEqualBytes(readSync(file), fs.readFileSync(path), `round ${round}`)
    }
  })
})

describeWith(['root', 'loop', 'xfs'], 'a path by which nothing may be written', () => {
  test('is refused, also where the file is open for writing by another', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const [writable, readonly] = [`${filesystem.path}/writable`, `${filesystem.path}/readonly`]
    for (const directory of [writable, readonly]) fs.mkdirSync(directory)
    writeSynced(`${writable}/file`, noise(PAGE, 1))
    run('mount', '--bind', writable, readonly)
    try {
      run('mount', '-o', 'remount,bind,ro', readonly)
      await using cache = await PageCache.create({ memory: '1MiB' })
      await using _writer = await cache.open(`${writable}/file`, 'r+')
      const refused = expect.objectContaining({ code: 'EROFS', path: `${readonly}/file` })
      await expect(cache.open(`${readonly}/file`, 'r+')).rejects.toThrow(refused)
      expect(() => cache.openSync(`${readonly}/file`, 'r+')).toThrow(refused)
      await using reader = await cache.open(`${readonly}/file`)
      expect(readSync(reader)).toHaveLength(PAGE)
    } finally {
      run('umount', readonly)
    }
  })
})
