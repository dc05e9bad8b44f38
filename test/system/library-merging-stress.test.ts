/**
 * Threads read what another writes, while equal pages are merged all the time: on load, by the scan, and at once; for SAMEPAGE_STRESS_SECONDS (20 if not given), with a cache that is
 * smaller than the files. A page has one of a few contents, which its file, its number and its version say, so most pages have equals, and lose them when they are written. Every 512 bytes
 * tell which content they are of: a reader knows which it may see.
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

/** Content of a page: one of sixteen, or zeros. Version 0 is the same in all files. Also part of the readers' source. */
function contentOf(file: number, page: number, version: number): number {
  return version === 0 ? page % 17 : (version * 31 + page * 7 + file) % 17
}

/** Words of a content differ in their first one alone, where the sector is told: pages are equal but for little. */
function stamp(bytes: Uint8Array, content: number): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE / 4)
  words.fill(content === 0 ? 0 : 77)
  for (let at = 0; at < words.length; at += 128) words[at] = content
}

const READ = `
  ${contentOf.toString()}
  const contentsOf = (file, page, low, high) => {
    const contents = new Set()
    for (let version = low; version <= high; version++) contents.add(contentOf(file, page, version))
    return contents
  }
  function check(bytes, file, page, low, high, how) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, 1024)
    const possible = contentsOf(file, page, low, high)
    for (let at = 0; at < 1024; at += 128) {
      const content = words[at]
      let isWhole = possible.has(content)
      for (let i = 1; i < 128 && isWhole; i++) isWhole = words[at + i] === (content === 0 ? 0 : 77)
      if (!isWhole) throw new Error(how + ': file ' + file + ' page ' + page + ' sector ' + at / 128 + ' has ' +
        [...words.subarray(at, at + 5)].join() + ', versions ' + low + ' to ' + high + ' are possible: ' + [...possible].join())
    }
  }
  const buffer = Buffer.from(new ArrayBuffer(4096))
  while (!isStopped()) {
    const file = random(files.length), page = random(${PAGES}), position = page * 4096, way = random(100)
    const from = low(file, page)
    if (way < 85) {
      const how = way < 60 ? 'tryRead' : way < 75 ? 'readSync' : 'read'
      const got = await files[file][how](buffer, { position })
      if (got === undefined) { if (random(3) === 0) await files[file].read(buffer, { position }); continue }
      if (got !== 4096) throw new Error(how + ' gave ' + got)
      check(buffer, file, page, from, high(file, page), how)
      counts[how === 'read' ? 'reads' : 'hits']++
    } else {
      const view = way < 95 ? files[file].viewSync(position, 4096) : await files[file].view(position, 4096)
      check(view.parts[0], file, page, from, high(file, page), 'view')
      counts.views++
      keep(view)
    }
  }`

for (const kind of ['xfs', 'ext4'] as const)
  describeWith(['root', 'loop', kind], `threads under stress while pages are merged on ${kind}`, () => {
    test(`${SECONDS} seconds of two readers and a writer: every page is what it can be`, {
      timeout: (SECONDS + 120) * 1000,
    }, async () => {
      const seed = testSeed()
      const random = new Random(seed)
      await using filesystem = await loopFilesystem(kind)
      const paths = Array.from({ length: FILES }, (_, i) => `${filesystem.path}/file${i}`)
      const content = Buffer.from(new ArrayBuffer(PAGES * PAGE))
      for (let page = 0; page < PAGES; page++) stamp(content.subarray(page * PAGE), contentOf(0, page, 0))
      for (const [i, it] of paths.entries())
        if (kind === 'xfs' && i > 0) clone(paths[0]!, it)
        else writeSynced(it, content)
      run('sync', '-f', filesystem.path)
      await settle()
      const { PageCache } = await builtLibrary()
      await using cache = await PageCache.create({
        memory: '1MiB',
        minShareBytes: 16 * KIBIBYTE,
        yieldUnderPressure: false,
        merge: { cpu: 0.5 },
      })
      const files = await Promise.all(paths.map((it) => cache.open(it, 'r+')))
      const readers = stressReaders(cache, READ, { paths, pages: PAGES, seed })
      const { started, done, failed } = readers
      const bytes = Buffer.from(new ArrayBuffer(PAGE))
      const versions = new Int32Array(FILES * PAGES)
      let written = 0
      let merged = 0
      const end = Date.now() + SECONDS * 1000
      try {
        for (let i = 1; Date.now() < end; i++) {
          const file = random.below(FILES)
          const page = random.below(random.below(4) === 0 ? PAGES : 60)
          const at = file * PAGES + page
          const version = ++versions[at]!
          stamp(bytes, contentOf(file, page, version))
          Atomics.store(started, at, version)
          if (i % 3 === 0) files[file]!.writeSync(bytes, { position: page * PAGE })
          else await Promise.race([files[file]!.write(bytes, { position: page * PAGE }), failed])
          Atomics.store(done, at, version)
          written++
          if (i % 7 === 0) await files[random.below(FILES)]!.advise('dontneed', random.below(PAGES) * PAGE, 20 * PAGE)
          if (i % 50 === 0) cache.resize(random.pick(['384KiB', '512KiB', '1MiB']))
          if (i % 60 === 0) await cache.merge([random.pick(files)])
          if (i % 100 === 0) {
            cache.checkInvariants()
            merged = Math.max(merged, cache.stats().merge!.pagesSharing)
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
      expect(merged, `seed ${seed}`).toBeGreaterThan(100)
      await readers.ended()
      for (const file of files) await file.close()
      cache.checkInvariants()
      console.log(`seed ${seed}: ${written} writes, up to ${merged} merged, readers ${JSON.stringify(counts)}`)
    })
  })
