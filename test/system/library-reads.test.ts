/**
 * The library against what the file system itself reads, for files of random extents that were cloned, cut and deduplicated: by every
 * way of reading, with a cache that holds all of them and with one that is much smaller than a file. A failure names the seed.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { type CachedFile, PageCache } from '../../src/index.ts'
import { difference } from '../support/bytes.ts'
import { startClient } from '../support/client.ts'
import { clone, KIBIBYTE, MEBIBYTE, noise, overwrite, PAGE, run, writeSynced } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { makeBatch } from '../support/layouts.ts'
import { type LoopKind, loopFilesystem } from '../support/loopfs.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const BATCH = 40
const POOL = 20

interface Variant {
  readonly name: string
  readonly kind: LoopKind
  readonly options: string[]
  readonly mkfs?: string[]
  readonly files: number
  readonly shares?: boolean
}

const VARIANTS: readonly Variant[] = [
  { name: 'XFS', kind: 'xfs', options: [], files: 240, shares: true },
  // A page may be shared in part.
  { name: 'XFS with blocks of 1 KiB', kind: 'xfs', options: [], mkfs: ['-b', 'size=1024'], files: 80, shares: true },
  { name: 'btrfs', kind: 'btrfs', options: [], files: 200, shares: true },
  { name: 'btrfs with compression', kind: 'btrfs', options: ['compress=zstd'], files: 80 },
  { name: 'ext4', kind: 'ext4', options: [], files: 80, shares: false },
]

/** Ways to read `length` bytes at `position`; undefined: this one did not, and need not. */
const WAYS: Record<string, (file: CachedFile, position: number, length: number) => Promise<Buffer | undefined>> = {
  async readSync(file, position, length) {
    const buffer = Buffer.alloc(length + 10, 0xee)
    const count = file.readSync(buffer, { position, offset: 3, length })
    expect([buffer[2], buffer[3 + count]]).toEqual([0xee, 0xee])
    return buffer.subarray(3, 3 + count)
  },
  async read(file, position, length) {
    const buffer = Buffer.alloc(length)
    return buffer.subarray(0, await file.read(buffer, { position }))
  },
  async tryRead(file, position, length) {
    const buffer = Buffer.alloc(length)
    const count = file.tryRead(buffer, { position })
    return count === undefined ? undefined : buffer.subarray(0, count)
  },
  async readv(file, position, length) {
    const buffers = [
      Buffer.alloc(length >> 2),
      Buffer.alloc(length >> 1),
      Buffer.alloc(length - (length >> 1) - (length >> 2)),
    ]
    const count = await file.readv(buffers, position)
    return Buffer.concat(buffers).subarray(0, count)
  },
  async view(file, position, length) {
    using view = await file.view(position, length)
    return Buffer.concat(view.parts)
  },
  async viewSync(file, position, length) {
    using view = file.viewSync(position, length)
    return Buffer.from(view.bytes)
  },
  async stream(file, position, length) {
    const chunks: Buffer[] = []
    for await (const chunk of file.createReadStream({ start: position, end: position + length - 1 })) chunks.push(chunk)
    return Buffer.concat(chunks)
  },
}

async function expectSame(random: Random, file: CachedFile, content: Buffer, what: string): Promise<void> {
  expect(file.size, what).toBe(content.length)
  for (let reads = 0; reads < 12; reads++) {
    const position = random.below(content.length + 2 * PAGE)
    const length = random.between(1, random.pick([64, PAGE, 300 * KIBIBYTE]))
    const way = random.pick(Object.keys(WAYS))
    const got = await WAYS[way]!(file, position, length)
    const wanted = content.subarray(position, position + length)
    if (got !== undefined && !got.equals(wanted))
      throw new Error(`${what}, ${way} of ${length} bytes at ${position}: ${difference(got, wanted)}`)
  }
}

for (const { name: variant, kind, options, mkfs = [], files, shares } of VARIANTS) {
  const seed = testSeed()
  describeWith(['root', 'loop', kind], `the library on random extents on ${variant}`, () => {
    test(`${files} files, seed ${seed}`, async () => {
      const random = new Random(seed)
      await using filesystem = await loopFilesystem(kind, { size: 2048 * MEBIBYTE, mkfs, mount: options })
      const at = (name: string) => `${filesystem.path}/${name}`
      const settings = { minShareBytes: 16 * KIBIBYTE, yieldUnderPressure: false }
      await using large = await PageCache.create({ memory: '64MiB', ...settings })
      await using small = await PageCache.create({ memory: '512KiB', direct: false, ...settings })
      const names: string[] = []
      for (let made = 0; made < files; made += BATCH) {
        // Some that were read before are other files now.
        makeBatch(random, filesystem.path, names, Math.min(BATCH, files - made), POOL)
        await settle()
        const batch = names.slice(-BATCH - POOL)
        for (let reads = 0; reads < batch.length; reads++) {
          const name = random.pick(batch)
          const content = fs.readFileSync(at(name))
          for (const cache of [large, small]) {
            await using file = random.below(3) === 0 ? cache.openSync(at(name)) : await cache.open(at(name))
            await expectSame(
              random,
              file,
              content,
              `seed ${seed}, ${name}, cache ${cache === large ? 'large' : 'small'}`,
            )
          }
        }
        for (const cache of [large, small]) cache.checkInvariants()
      }
      // All at once, in turns.
      const opened = await Promise.all(names.slice(-60).map((name) => large.open(at(name))))
      await Promise.all(
        opened.map((file) =>
          expectSame(random, file, fs.readFileSync(file.path), `seed ${seed}, ${file.path} together`),
        ),
      )
      for (const file of opened) file.closeSync()
      for (const cache of [large, small]) {
        cache.checkInvariants()
        const { filesOpen, homes, sharedBytes } = cache.stats()
        expect(filesOpen).toBe(0)
        if (shares === false) expect(homes).toBe(0)
        if (shares === true) expect(sharedBytes, `seed ${seed}`).toBeGreaterThan(MEBIBYTE)
      }
      expect(small.stats().evicted).toBeGreaterThan(100)
    })
  })
}

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', kind], `twenty clones on ${kind}`, () => {
    test('are held and loaded once, also by parts at other offsets, but for the pages that are their own', async () => {
      const SIZE = 24 * MEBIBYTE
      const CLONES = 20
      await using filesystem = await loopFilesystem(kind)
      const original = noise(SIZE, 1)
      const at = (name: string) => `${filesystem.path}/${name}`
      writeSynced(at('original'), original)
      const names = Array.from({ length: CLONES }, (_, i) => `clone${i}`)
      for (const name of names) clone(at('original'), at(name))
      // One page more each for two of them.
      for (const name of ['clone3', 'clone4']) overwrite(at(name), 5 * MEBIBYTE, noise(PAGE, name.length + 9))
      // Half of it, elsewhere.
      fs.writeFileSync(at('shifted'), noise(100, 5))
      const half = SIZE / 2
      run('xfs_io', '-c', `reflink ${at('original')} ${half} ${8 * PAGE} ${half}`, at('shifted'))
      run('sync', '-f', filesystem.path)
      await settle()

      await using cache = await PageCache.create({ memory: '512MiB', yieldUnderPressure: false })
      const buffer = Buffer.alloc(MEBIBYTE)
      const readWhole = async (name: string) => {
        await using file = await cache.open(at(name))
        const wanted = fs.readFileSync(at(name))
        for (let position = 0; position < wanted.length; position += MEBIBYTE) {
          const count = await file.read(buffer, { position })
          if (!buffer.subarray(0, count).equals(wanted.subarray(position, position + MEBIBYTE)))
            throw new Error(`${name} at ${position}`)
        }
      }
      const held = () => {
        const { pageBytes, indexBytes } = cache.stats()
        // 16 bytes of record for each frame in use.
        return pageBytes + indexBytes + (pageBytes / PAGE) * 16
      }
      await readWhole('original')
      const one = { held: held(), loaded: cache.stats().bytesLoaded }
      expect(one.loaded).toBe(SIZE)
      for (const name of [...names, 'shifted']) await readWhole(name)
      cache.checkInvariants()
      expect(cache.stats().homes).toBeGreaterThanOrEqual(1)
      expect(held()).toBeLessThanOrEqual(1.02 * one.held)
      expect(cache.stats().bytesLoaded).toBeLessThanOrEqual(1.02 * one.loaded)
      // The two pages, and the first eight of the shifted one.
      expect(cache.stats().pageBytes - SIZE).toBeLessThanOrEqual(11 * PAGE)
      expect(cache.stats().pageBytes - SIZE).toBeGreaterThanOrEqual(2 * PAGE)
    })
  })

describeWith(['root', 'loop', 'xfs'], 'positions far out', () => {
  test('are read beyond 2^32 and 2^42 through the cache, and beyond 2^43 past it', async () => {
    await using filesystem = await loopFilesystem('xfs')
    await using cache = await PageCache.create({ memory: '8MiB', yieldUnderPressure: false })
    for (const [name, size] of [
      ['5 TiB', 5 * 2 ** 40 + 777],
      ['9 TiB', 9 * 2 ** 40 + 777],
    ] as const) {
      const path = `${filesystem.path}/${name}`
      fs.writeFileSync(path, '')
      fs.truncateSync(path, size)
      const places = [
        0,
        2 ** 31 - 100,
        2 ** 32 - 100,
        2 ** 32 + 5 * PAGE,
        2 ** 42 - 100,
        2 ** 42 + 12_345,
        2 ** 43 - 100,
        2 ** 43 + PAGE,
        size - 500,
      ]
      for (const [i, place] of places.entries()) if (place + 200 <= size) overwrite(path, place, noise(200, i + 1))
      await settle()
      await using file = await cache.open(path, 'r+')
      expect(file.size).toBe(size)
      const native = fs.openSync(path, 'r')
      try {
        for (let round = 0; round < 2; round++)
          for (const place of places)
            for (const [position, length] of [
              [place, 200],
              [place - 50, 5000],
              [place + 100 * PAGE, 9000],
            ] as const) {
              if (position < 0) continue
              const wanted = Buffer.alloc(length)
              const count = fs.readSync(native, wanted, 0, length, position)
              for (const way of ['readSync', 'read', 'view', 'viewSync', 'stream']) {
                const got = await WAYS[way]!(file, position, length)
                if (!got!.equals(wanted.subarray(0, count)))
                  throw new Error(`${name}, ${way} at ${position}: ${difference(got!, wanted.subarray(0, count))}`)
              }
            }
        // Written, too.
        for (const position of [2 ** 42 + 12_400, size - 300, size + 5000]) {
          const bytes = noise(300, position % 1000)
          file.writeSync(bytes, { position })
          const wanted = Buffer.alloc(9000)
          const count = fs.readSync(native, wanted, 0, 9000, position - 1000)
          const got = await WAYS.read!(file, position - 1000, 9000)
          expect(got!.equals(wanted.subarray(0, count)), `${name} at ${position}`).toBe(true)
        }
        expect(file.size).toBe(size + 5300)
      } finally {
        fs.closeSync(native)
      }
      cache.checkInvariants()
    }
  })
})

test('what does not fit into the cache is loaded once for one read, however it is read', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-large-'))
  try {
    const bytes = noise(48 * MEBIBYTE, 1)
    fs.writeFileSync(path.join(directory, 'file'), bytes)
    await settle()
    for (const memory of ['8MiB', '40MiB'])
      for (const way of ['read', 'readSync'] as const) {
        await using cache = await PageCache.create({ memory, yieldUnderPressure: false })
        await using file = await cache.open(path.join(directory, 'file'))
        const buffer = Buffer.alloc(bytes.length)
        expect(await file[way](buffer, { position: 0 })).toBe(bytes.length)
        expect(buffer.equals(bytes)).toBe(true)
        expect(cache.stats().bytesLoaded, `${way}, ${memory}`).toBe(bytes.length)
      }
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
})

test('a view of what does not fit into the cache is one copy, loaded once, and leaves what is in use; one that fits loads what is missing', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-large-view-'))
  try {
    const bytes = noise(48 * MEBIBYTE, 1)
    fs.writeFileSync(path.join(directory, 'file'), bytes)
    fs.writeFileSync(path.join(directory, 'hot'), bytes.subarray(0, MEBIBYTE))
    await settle()
    for (const way of ['view', 'viewSync'] as const) {
      await using cache = await PageCache.create({ memory: '8MiB', pinsPerThread: 2 ** 20, yieldUnderPressure: false })
      await using hot = await cache.open(path.join(directory, 'hot'))
      const page = Buffer.alloc(4096)
      const hits = () =>
        Array.from({ length: 256 }, (_, i) => hot.tryRead(page, { position: i * 4096 })).filter((count) => count).length
      for (let i = 0; i < 3 * 256; i++) await hot.read(page, { position: (i % 256) * 4096 })
      await using file = await cache.open(path.join(directory, 'file'))
      const loaded = async (position: number, length: number) => {
        const before = cache.stats().bytesLoaded
        using view = await file[way](position, length)
        expect(bytes.subarray(position, position + length).equals(view.bytes), way).toBe(true)
        return { bytes: cache.stats().bytesLoaded - before, isPinned: view.isPinned, parts: view.parts.length }
      }
      expect(await loaded(0, bytes.length), way).toEqual({ bytes: bytes.length, isPinned: false, parts: 1 })
      expect(hits(), way).toBeGreaterThan(240)
      await file.advise('dontneed')
      file.readSync(page, { position: 41 * MEBIBYTE })
      const fits = await loaded(40 * MEBIBYTE, 3 * MEBIBYTE)
      expect(fits, way).toEqual({ bytes: 3 * MEBIBYTE - 4096, isPinned: true, parts: 768 })
      expect(hits(), way).toBeGreaterThan(240)
    }
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
})

test('a file that somebody has a lease on is opened when he has given it up', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-leased-'))
  try {
    await using holder = startClient()
    await holder.run(
      `def lend(file):
    descriptor = os.open(file, os.O_RDWR)
    signal.signal(signal.SIGIO, lambda *_: signal.setitimer(signal.ITIMER_REAL, 0.2))
    signal.signal(signal.SIGALRM, lambda *_: fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK))
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)`,
      {},
    )
    await using cache = await PageCache.create({ memory: '1MiB' })
    for (const flags of ['r', 'r+'] as const)
      for (const way of ['open', 'openSync'] as const) {
        const file = path.join(directory, flags + way)
        fs.writeFileSync(file, 'content')
        await holder.run('lend(file)', { file })
        await using opened = await cache[way](file, flags)
        expect(opened.size).toBe(7)
      }
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
})

test('a view may be asked for as long as one likes, and ends where the file does', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-long-'))
  try {
    const bytes = noise(100_000, 1)
    fs.writeFileSync(path.join(directory, 'file'), bytes)
    await settle()
    await using cache = await PageCache.create({ memory: '4MiB', yieldUnderPressure: false })
    for (const way of ['view', 'viewSync'] as const) {
      await using file = await cache.open(path.join(directory, 'file'))
      await file.advise('dontneed')
      using view = await file[way](5, Number.MAX_SAFE_INTEGER)
      expect(bytes.subarray(5).equals(view.bytes)).toBe(true)
    }
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
})
