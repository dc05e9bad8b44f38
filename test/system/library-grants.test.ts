/** Grants with real threads, clones and failing disks: no reader gets a part of a publish, no publish is lost, a holder that dies has published nothing. */
// First: it takes the place of what the library imports.
import '../support/failing-fs.ts'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, expect, test } from 'vitest'
import { PageCache } from '../../src/index.ts'
import { builtLibrary, cacheWorker } from '../support/cache-worker.ts'
import { soon } from '../support/eventually.ts'
import { faults } from '../support/failing-fs.ts'
import { clone, noise, PAGE, writeSynced } from '../support/files.ts'
import { testSeed } from '../support/hammer.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const SECONDS = Number(process.env.SAMEPAGE_STRESS_SECONDS ?? 20) / 2

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-grants-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))
afterEach(() => faults.heal())

let names = 0
function fileOf(content: Uint8Array): string {
  const file = path.join(directory, `file-${names++}`)
  fs.writeFileSync(file, content)
  return file
}

async function create(): Promise<PageCache> {
  return (await builtLibrary()).PageCache.create({ memory: '4MiB', yieldUnderPressure: false })
}

test('a holder on another thread: it dies, and nothing of it is left; another is asked, and publishes', async () => {
  await using cache = await create()
  const old = noise(4 * PAGE, 1)
  const file = fileOf(old)
  await using reader = await cache.open(file, 'r+')
  const buffer = Buffer.alloc(4 * PAGE)
  await reader.read(buffer, { position: 0 })
  const mortal = cacheWorker(
    cache,
    `const file = await cache.open(data.file, 'r+')
     const grant = await file.exclusive({ length: 8192 })
     grant.bytes.fill(7)
     say('held')
     await new Promise((resolve) => setTimeout(resolve, 1e6))`,
    { file },
  )
  expect(await mortal.said()).toBe('held')
  const reading = reader.read(buffer, { position: 0 })
  const next = reader.exclusive({ length: PAGE })
  expect(await soon(reading)).toBe('waits')
  await mortal.worker.terminate()
  expect(await reading).toBe(4 * PAGE)
  expect(buffer.equals(old)).toBe(true)
  await (await next).abandon()

  const obedient = cacheWorker(
    cache,
    `const file = await cache.open(data.file, 'r+')
     let alarm
     await new Promise(async (resolve) => {
       const grant = await file.exclusive({ length: 8192, onRevoke: async (it, deadlineMs) => {
         it.bytes.fill(8)
         await it.publish({ sync: true })
         say(deadlineMs)
         resolve()
       } })
       say('held')
       alarm = setTimeout(resolve, 60000)
     })
     clearTimeout(alarm)
     await file.close()`,
    { file },
  )
  expect(await obedient.said()).toBe('held')
  expect(await reader.revoke({ position: 0, length: 1, deadlineMs: 10_000 })).toBe(1)
  expect(await obedient.said()).toBe(10_000)
  await reader.read(buffer, { position: 0 })
  expect(buffer.subarray(0, 8192).every((byte) => byte === 8)).toBe(true)
  expect(buffer.subarray(8192).equals(old.subarray(8192))).toBe(true)
  await obedient.ended
  cache.checkInvariants()
})

test('what blocks its thread waits for no holder, on whatever thread', async () => {
  await using cache = await create()
  const file = fileOf(noise(4 * PAGE, 1))
  await using holder = await cache.open(file, 'r+')
  const { said, ended } = cacheWorker(
    cache,
    `const file = await cache.open(data.file)
     const buffer = Buffer.alloc(4096)
     const tell = (act) => { try { return act() } catch (error) { return error.code } }
     for (const position of [0, 4096])
       say([file.tryRead(buffer, { position }) ?? 'nothing', tell(() => file.readSync(buffer, { position })), tell(() => file.viewSync(position, 1).length)].join())
     await file.close()`,
    { file },
  )
  await using grant = await holder.exclusive({ length: PAGE })
  expect(await said()).toBe('nothing,EAGAIN,EAGAIN')
  expect(await said()).toMatch(/,4096,1$/)
  expect(grant.isEnded).toBe(false)
  await ended
})

/** Ranges of two pages with a counter on each: readers see both alike in a page, writers none of their increments lost. */
const COUNTERS = 3
/** Reads that each reader gets, however busy the machine is and the holders are. */
const ENOUGH = 50
const HOLDER = `
  const file = await cache.open(data.file, 'r+')
  let state = data.seed >>> 0 || 1
  const random = (n) => { state ^= state << 13; state ^= state >>> 17; state ^= state << 5; return (state >>> 0) % n }
  const stop = new Int32Array(data.stop)
  const published = new Array(${COUNTERS}).fill(0)
  while (Atomics.load(stop, 0) === 0) {
    const which = random(${COUNTERS})
    const grant = await file.exclusive({ position: which * 8192, length: 8192, readers: random(2) === 0 ? 'wait' : 'last-published' })
    const words = new Int32Array(grant.bytes.buffer, grant.bytes.byteOffset, 2048)
    const value = words[0]
    for (const word of words) if (word !== value) throw new Error('a holder got ' + word + ' beside ' + value)
    words.fill(value + 1)
    if (random(4) === 0) await grant.abandon()
    else {
      await grant.publish({ sync: random(8) === 0 })
      published[which]++
    }
  }
  say(published)
  await file.close()`
const READER = `
  const file = await cache.open(data.file)
  let state = data.seed >>> 0 || 1
  const random = (n) => { state ^= state << 13; state ^= state >>> 17; state ^= state << 5; return (state >>> 0) % n }
  const stop = new Int32Array(data.stop)
  const seen = new Array(${COUNTERS * 2}).fill(0)
  const buffer = Buffer.from(new ArrayBuffer(4096))
  let reads = 0
  while (Atomics.load(stop, 0) === 0) {
    const page = random(${COUNTERS * 2}), position = page * 4096
    const way = ['tryRead', 'readSync', 'read', 'viewSync', 'view'][random(5)]
    let bytes = buffer
    try {
      if (way.startsWith('view')) {
        const view = await file[way](position, 4096)
        bytes = Buffer.concat(view.parts)
        view.dispose()
      } else if (await file[way](buffer, { position }) === undefined) continue
    } catch (error) {
      if (error.code !== 'EAGAIN' || !way.endsWith('Sync')) throw error
      continue
    }
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, 1024)
    for (const word of words) if (word !== words[0]) throw new Error(way + ' of page ' + page + ' got ' + word + ' beside ' + words[0])
    if (words[0] < seen[page]) throw new Error(way + ' of page ' + page + ' got ' + words[0] + ' after ' + seen[page])
    seen[page] = words[0]
    if (++reads === ${ENOUGH}) say('enough')
    if (reads % 50 === 0) await file.advise('dontneed')
  }
  say(reads)
  await file.close()`

describeWith(['root', 'loop', 'xfs'], 'grants on xfs', () => {
  test(`${SECONDS} seconds of two holders and two readers: whole pages, in order, and no publish lost`, {
    timeout: (SECONDS + 120) * 1000,
  }, async () => {
    const seed = testSeed()
    await using filesystem = await loopFilesystem('xfs')
    const file = `${filesystem.path}/file`
    writeSynced(file, new Uint8Array(COUNTERS * 2 * PAGE))
    await using cache = await create()
    const stop = new SharedArrayBuffer(4)
    const start = (body: string, n: number) => cacheWorker(cache, body, { file, stop, seed: seed + n })
    const holders = [1, 2].map((n) => start(HOLDER, n))
    const readers = [3, 4].map((n) => start(READER, n))
    const all = [...holders, ...readers]
    try {
      const enough = Promise.all(readers.map(({ said }) => said()))
      await Promise.race([Promise.all([sleep(SECONDS * 1000), enough]), ...all.map(({ ended }) => ended)])
    } finally {
      Atomics.store(new Int32Array(stop), 0, 1)
    }
    const published = (await Promise.all(holders.map(({ said }) => said()))) as number[][]
    const reads = (await Promise.all(readers.map(({ said }) => said()))) as number[]
    await Promise.all(all.map(({ ended }) => ended))
    for (const count of reads) expect(count, `seed ${seed}`).toBeGreaterThanOrEqual(ENOUGH)
    const words = new Int32Array(new Uint8Array(fs.readFileSync(file)).buffer)
    for (let which = 0; which < COUNTERS; which++) {
      const sum = published.reduce((total, counts) => total + counts[which]!, 0)
      expect(sum, `seed ${seed}`).toBeGreaterThan(0)
      for (const page of [2 * which, 2 * which + 1]) expect(words[page * 1024], `seed ${seed}`).toBe(sum)
    }
    cache.checkInvariants()
  })

  test('clones go on reading what they had, undisturbed', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const at = (name: string) => `${filesystem.path}/${name}`
    const content = noise(256 * PAGE, 1)
    writeSynced(at('original'), content)
    for (const name of ['a', 'b']) clone(at('original'), at(name))
    await settle()
    await using cache = await PageCache.create({ memory: '4MiB', yieldUnderPressure: false, minShareBytes: 4 * PAGE })
    await using a = await cache.open(at('a'), 'r+')
    await using b = await cache.open(at('b'), 'r+')
    expect(cache.stats().homes).toBe(1)
    const buffer = Buffer.alloc(4 * PAGE)
    const both = [a, b] as const
    for (const file of both) await file.read(buffer, { position: 0 })
    const bytesLoaded = cache.stats().bytesLoaded
    for (const readers of ['wait', 'last-published'] as const) {
      const position = readers === 'wait' ? 0 : 2 * PAGE
      const grant = await a.exclusive({ position, length: PAGE, readers })
      grant.bytes.fill(7)
      expect(b.tryRead(buffer, { position: 0 })).toBe(4 * PAGE)
      expect(buffer.equals(content.subarray(0, 4 * PAGE))).toBe(true)
      // Home or not, the holder's pages are nobody else's.
      expect(a.tryRead(buffer, { position, length: PAGE })).toBe(readers === 'wait' ? undefined : PAGE)
      // Somebody opens it, and it is decided anew how it is served.
      await (await cache.open(at('a'))).close()
      const again = a.read(buffer, { position, length: PAGE, wait: false })
      if (readers === 'wait') await expect(again).rejects.toMatchObject({ code: 'EAGAIN' })
      else {
        expect(await again).toBe(PAGE)
        expect(buffer.subarray(0, PAGE).equals(content.subarray(position, position + PAGE))).toBe(true)
      }
      await grant.publish()
      expect(b.tryRead(buffer, { position: 0 })).toBe(4 * PAGE)
      expect(buffer.equals(content.subarray(0, 4 * PAGE))).toBe(true)
      await a.read(buffer, { position, length: PAGE })
      expect(buffer.subarray(0, PAGE).every((byte) => byte === 7)).toBe(true)
    }
    expect(cache.stats().bytesLoaded).toBeLessThan(bytesLoaded + 64 * PAGE)
    expect(Buffer.compare(fs.readFileSync(at('b')), content)).toBe(0)
    cache.checkInvariants()
  })
})

for (const isForGood of [false, true])
  test(`each call of a grant fails in turn, ${isForGood ? 'and all behind it' : 'once'}: all of it is published, or nothing`, async () => {
    const old = noise(6 * PAGE, 1)
    for (let nth = 1, isDone = false; !isDone; nth++) {
      const path = fileOf(old)
      await using cache = await PageCache.create({ memory: '1MiB', direct: false, yieldUnderPressure: false })
      await using file = await cache.open(path, 'r+')
      await using reader = await cache.open(path)
      const seen = Buffer.alloc(old.length)
      faults.failNth(nth, isForGood)
      let isPublished = false
      let error: NodeJS.ErrnoException | undefined
      try {
        await using grant = await file.exclusive({ position: PAGE + 5, length: 3 * PAGE })
        grant.bytes.fill(7)
        await grant.publish({ sync: true })
        isPublished = true
      } catch (thrown) {
        error = thrown as NodeJS.ErrnoException
        expect(error).toMatchObject({ code: 'EIO' })
      }
      isDone = faults.failed === 0
      const couldNotPutBack =
        error?.message.includes('could not be put back') || error?.message.includes('putting the old bytes back')
      faults.heal()
      const expected = Buffer.from(old)
      if (isPublished) expected.fill(7, PAGE + 5, 4 * PAGE + 5)
      await reader.read(seen, { position: 0 })
      if (!couldNotPutBack) expect(seen.equals(expected), `call ${nth}`).toBe(true)
      expect(seen.equals(fs.readFileSync(path)), `call ${nth}`).toBe(true)
      // It is over: the next one has its turn.
      await (await file.exclusive()).abandon()
      cache.checkInvariants()
    }
  })
