/**
 * Threads read through one cache what another writes, for SAMEPAGE_STRESS_SECONDS (20 if not given), with a cache that is smaller than the files. Every 512 bytes say
 * of which file and page they are, and of which write: so each reader knows which bytes it may see, and which it must not.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { builtLibrary } from '../support/cache-worker.ts'
import { clone, KIBIBYTE, PAGE, run, writeSynced } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'
import { stressReaders } from '../support/stressed-cache.ts'

const SECONDS = Number(process.env.SAMEPAGE_STRESS_SECONDS ?? 20)
const FILES = 4
const PAGES = 300
const SECTOR_WORDS = 128

/** Version 0 is what all clones have from the first file; later ones are a file's own. */
function stamp(bytes: Uint8Array, file: number, page: number, version: number): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE / 4)
  for (let at = 0; at < words.length; at += SECTOR_WORDS) {
    words.fill(version * 31 + page, at, at + SECTOR_WORDS)
    words[at] = version === 0 ? 0 : file + 1
    words[at + 1] = page
    words[at + 2] = version
  }
}

/** The readers' source: throws where a page is not what it can be. */
const CHECK = `
  // Each word can be of any version that is possible.
  function isAnyOf(words, at, file, page, low, high) {
    const isPossible = (version) => Number.isInteger(version) && version >= low && version <= high
    if (words[at] !== file + 1 && !(words[at] === 0 && low === 0)) return false
    if (words[at + 1] !== page || !isPossible(words[at + 2])) return false
    for (let i = 3; i < 128; i++) if (!isPossible((words[at + i] - page) / 31)) return false
    return true
  }
  function isOne(words, at, file, page, low, high) {
    const version = words[at + 2]
    const owner = version === 0 ? 0 : file + 1
    if (words[at] !== owner || words[at + 1] !== page || version < low || version > high) return false
    for (let i = 3; i < 128; i++) if (words[at + i] !== version * 31 + page) return false
    return true
  }
  const isSound = data.tears ? isAnyOf : isOne
  function check(bytes, file, page, low, high, how) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, 1024)
    for (let at = 0; at < 1024; at += 128) {
      const isWhole = isSound(words, at, file, page, low, high)
      if (!isWhole) throw new Error(how + ': file ' + file + ' page ' + page + ' sector ' + at / 128 + ' has ' +
        [...words.subarray(at, at + 5)].join() + ', versions ' + low + ' to ' + high + ' are possible')
    }
  }
  const buffer = Buffer.from(new ArrayBuffer(4096 * 4))
  const part = (i) => buffer.subarray(i * 4096, i * 4096 + 4096)
  const lows = [0, 0, 0, 0]
  for (let i = 0; !isStopped(); i++) {
    const file = random(files.length), page = random(${PAGES - 4}), count = 1 + random(4)
    for (let k = 0; k < count; k++) lows[k] = low(file, page + k)
    const position = page * 4096, length = count * 4096, way = random(100)
    let how = 'view'
    if (way < 80) {
      how = way < 40 ? 'tryRead' : 'readSync'
      const got = files[file][how](buffer, { position, length })
      if (got === undefined) { if (random(4) === 0) await files[file].read(buffer, { position, length }); continue }
      if (got !== length) throw new Error(how + ' gave ' + got)
      counts.hits++
    } else if (way < 90) {
      how = 'read'
      if (await files[file].read(buffer, { position, length }) !== length) throw new Error('short')
      counts.reads++
    } else {
      const view = way < 95 ? files[file].viewSync(position, length) : await files[file].view(position, length)
      view.parts.forEach((bytes, k) => check(bytes, file, page + k, lows[k], high(file, page + k), 'view'))
      counts.views++
      // What it shows stays so as long as it is not let go.
      keep(view)
      continue
    }
    for (let k = 0; k < count; k++) check(part(k), file, page + k, lows[k], high(file, page + k), how)
    if (i % 200 === 0) {
      const at = random(files.length)
      files[at].closeSync()
      files[at] = await cache.open(data.paths[at])
    }
  }`

// On btrfs read(2) takes no lock against write(2): what it gives while somebody writes is a mixture of both at any byte, natively and wherever the cache is read past.
for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', kind], `threads under stress on ${kind}`, () => {
    test(`${SECONDS} seconds of two readers and a writer: every page is what it can be`, {
      timeout: (SECONDS + 120) * 1000,
    }, async () => {
      const seed = testSeed()
      const random = new Random(seed)
      await using filesystem = await loopFilesystem(kind)
      const paths = Array.from({ length: FILES }, (_, i) => `${filesystem.path}/file${i}`)
      const content = Buffer.from(new ArrayBuffer(PAGES * PAGE))
      for (let page = 0; page < PAGES; page++) stamp(content.subarray(page * PAGE), 0, page, 0)
      writeSynced(paths[0]!, content)
      for (const path of paths.slice(1)) clone(paths[0]!, path)
      run('sync', '-f', filesystem.path)
      await settle()
      const { PageCache } = await builtLibrary()
      await using cache = await PageCache.create({
        memory: '2MiB',
        minShareBytes: 16 * KIBIBYTE,
        yieldUnderPressure: false,
      })
      const files = await Promise.all(paths.map((path) => cache.open(path, 'r+')))
      const readers = stressReaders(cache, CHECK, { paths, pages: PAGES, seed, data: { tears: kind === 'btrfs' } })
      const { started, done, failed } = readers
      const bytes = Buffer.from(new ArrayBuffer(3 * PAGE))
      let written = 0
      const end = Date.now() + SECONDS * 1000
      try {
        for (let i = 1; Date.now() < end; i++) {
          // Pages stay shared where nobody has written yet: most writes go to the same third.
          const file = random.below(FILES)
          const page = random.below(random.below(10) === 0 ? PAGES - 3 : 100)
          const count = random.between(1, 3)
          for (let k = 0; k < count; k++) {
            stamp(bytes.subarray(k * PAGE), file, page + k, i)
            Atomics.store(started, file * PAGES + page + k, i)
          }
          const part = bytes.subarray(0, count * PAGE)
          if (i % 3 === 0) files[file]!.writeSync(part, { position: page * PAGE })
          else await Promise.race([files[file]!.write(part, { position: page * PAGE }), failed])
          for (let k = 0; k < count; k++) Atomics.store(done, file * PAGES + page + k, i)
          written++
          if (i % 7 === 0) await files[random.below(FILES)]!.advise('dontneed', random.below(PAGES) * PAGE, 20 * PAGE)
          if (i % 50 === 0) cache.resize(random.pick(['512KiB', '1MiB', '2MiB']))
          if (i % 100 === 0) {
            cache.checkInvariants()
            // Decided anew while others have it open.
            const again = await cache.open(paths[random.below(FILES)]!)
            await again.close()
            await Promise.race([sleep(random.below(40)), failed])
          }
        }
      } finally {
        readers.stop()
      }
      const counts = await readers.counts()
      for (const { hits, reads, views } of counts)
        for (const count of [hits, reads, views]) expect(count, `seed ${seed}`).toBeGreaterThan(20)
      expect(written).toBeGreaterThan(100)
      expect(cache.stats().evicted).toBeGreaterThan(100)
      await readers.ended()
      for (const file of files) await file.close()
      cache.checkInvariants()
      console.log(`seed ${seed}: ${written} writes, readers ${JSON.stringify(counts)}`)
    })
  })
