/** Errors: of the caller, of the file system, of each single call; nothing is lost by them, and no reader gets other bytes. */
// First: it takes the place of what the library imports.
import '../support/failing-fs.ts'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { type CachedFile, PageCache } from '../../src/index.ts'
import { faults } from '../support/failing-fs.ts'
import {
  clone,
  descriptorsInto,
  KIBIBYTE,
  MEBIBYTE,
  noise,
  overwrite,
  PAGE,
  placeOf,
  run,
  writeSynced,
} from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { SETTLED_MS, settle } from '../support/settled.ts'

const SIZE = 300 * KIBIBYTE + 500

afterEach(() => faults.heal())

/** What a program does with a file, with every kind of call; errors that were planted end a step, others the test. */
async function useFile(cache: PageCache, path: string): Promise<void> {
  const step = async (act: () => unknown) => {
    try {
      await act()
    } catch (error) {
      expect(error).toMatchObject({ code: 'EIO' })
    }
  }
  let file: CachedFile | undefined
  await step(async () => {
    file = await cache.open(path, 'r+')
  })
  let other: CachedFile | undefined
  await step(() => {
    other = cache.openSync(path)
  })
  const buffer = Buffer.alloc(5 * PAGE)
  await step(() => file?.read(buffer, { position: 3 * PAGE }))
  await step(() => other?.readSync(buffer, { position: 30 * PAGE + 5 }))
  await step(() =>
    Promise.all([0, 1, 2].map((i) => (i === 1 ? other : file)?.read(buffer, { position: (20 + i) * PAGE }))),
  )
  await step(() => file?.write(noise(2 * PAGE, 5), { position: 4 * PAGE + 1 }))
  await step(() => file?.writeSync(noise(2 * PAGE, 6), { position: 32 * PAGE }))
  await step(async () => (await other?.view(31 * PAGE, 3 * PAGE))?.dispose())
  await step(() => other?.viewSync(50 * PAGE, PAGE).dispose())
  await step(() => file?.truncate(60 * PAGE + 9))
  await step(() => file?.advise('willneed'))
  await step(() => file?.sync())
  await step(() => file?.syncSync())
  await step(() => file?.statSync())
  await step(() => file?.close())
  await step(() => other?.close())
}

describeWith(['root', 'loop', 'xfs'], 'calls that fail', () => {
  for (const isForGood of [false, true])
    test(`each in turn, ${isForGood ? 'and all behind it' : 'once'}: nothing is lost, and the bytes are right`, async () => {
      await using filesystem = await loopFilesystem('xfs')
      const at = (name: string) => `${filesystem.path}/${name}`
      const content = noise(SIZE, 1)
      writeSynced(at('original'), content)
      for (let nth = 1, isDone = false; !isDone; nth++) {
        const path = at(`clone${nth}`)
        clone(at('original'), path)
        await sleep(SETTLED_MS / 2)
        const cache = await PageCache.create({
          memory: '1MiB',
          minShareBytes: 16 * KIBIBYTE,
          yieldUnderPressure: false,
        })
        {
          // A home that is there before it goes wrong, in half of the cases.
          if (nth % 2 === 0) (await cache.open(at('original'))).closeSync()
          faults.failNth(nth, isForGood)
          await useFile(cache, path)
          isDone = faults.failed === 0
          faults.heal()
          cache.checkInvariants()
          expect(cache.stats().filesOpen, `call ${nth}`).toBe(0)
          // Nothing is left as being loaded: all can be cached, and is right.
          await using file = await cache.open(path)
          await file.advise('willneed')
          const wanted = fs.readFileSync(path)
          const got = Buffer.alloc(wanted.length)
          expect(file.tryRead(got, { position: 0 }), `call ${nth}`).toBe(wanted.length)
          expect(got.equals(wanted), `call ${nth}`).toBe(true)
        }
        await cache.close()
        expect(descriptorsInto(filesystem.path), `call ${nth}`).toEqual([])
        fs.unlinkSync(path)
        expect(nth).toBeLessThan(200)
      }
      expect(fs.readFileSync(at('original')).equals(content)).toBe(true)
    })

  test('two who want one page that cannot be read are both told; who comes later can read it', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const path = `${filesystem.path}/file`
    writeSynced(path, noise(SIZE, 1))
    await settle()
    await using cache = await PageCache.create({ memory: '1MiB', yieldUnderPressure: false })
    await using one = await cache.open(path)
    await using two = await cache.open(path)
    faults.failNth(1, true)
    const reads = [one, two, one].map((file) => file.read(Buffer.alloc(100), { position: 9 * PAGE }))
    for (const outcome of await Promise.allSettled(reads))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'EIO', path } })
    faults.heal()
    expect(await two.read(Buffer.alloc(100), { position: 9 * PAGE })).toBe(100)
    cache.checkInvariants()
  })

  test('errors are those of Node.js: code, syscall, path', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const at = (name: string) => `${filesystem.path}/${name}`
    writeSynced(at('file'), noise(SIZE, 1))
    fs.mkdirSync(at('directory'))
    run('mkfifo', at('fifo'))
    await using cache = await PageCache.create({ memory: '1MiB', yieldUnderPressure: false })
    for (const [name, code] of [
      ['missing', 'ENOENT'],
      ['directory', 'EISDIR'],
      ['file/below', 'ENOTDIR'],
      ['fifo', 'EINVAL'],
    ] as const)
      for (const open of [(path: string) => cache.open(path), async (path: string) => cache.openSync(path)])
        await expect(open(at(name))).rejects.toMatchObject({ code, syscall: 'open', path: at(name) })
    await using file = await cache.open(at('file'))
    await expect(file.write(Buffer.alloc(1), { position: 0 })).rejects.toMatchObject({
      code: 'EBADF',
      path: at('file'),
    })
    await expect(file.truncate(0)).rejects.toMatchObject({ code: 'EBADF' })
    expect(fs.statSync(at('file')).size).toBe(SIZE)
    run('mount', '-o', 'remount,ro', filesystem.path)
    await expect(cache.open(at('file'), 'r+')).rejects.toMatchObject({
      code: 'EROFS',
      syscall: 'open',
      path: at('file'),
    })
    expect(file.readSync(Buffer.alloc(100), { position: 0 })).toBe(100)
    expect(cache.stats().filesOpen).toBe(1)
  })
})

describeWith(['root', 'loop', 'xfs'], 'an aborted read', () => {
  test('rejects at once; what it began goes on, and its frame comes back', async () => {
    await using filesystem = await loopFilesystem('xfs')
    const path = `${filesystem.path}/file`
    const content = noise(4 * MEBIBYTE, 1)
    writeSynced(path, content)
    await settle()
    await using cache = await PageCache.create({ memory: '8MiB', yieldUnderPressure: false })
    await using file = await cache.open(path)
    for (let i = 0; i < 50; i++) {
      const controller = new AbortController()
      const { signal } = controller
      const position = i * 20 * PAGE
      const calls = [
        file.read(Buffer.alloc(5 * PAGE), { position, signal }),
        file.view(position, PAGE, { signal }),
        file.readv([Buffer.alloc(10)], position, { signal }),
      ]
      controller.abort(new Error('enough'))
      for (const outcome of await Promise.allSettled(calls))
        expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'enough' } })
    }
    await expect(file.read(Buffer.alloc(1), { position: 0, signal: AbortSignal.abort() })).rejects.toThrow(/abort/)
    await file.advise('willneed')
    const got = Buffer.alloc(content.length)
    expect(file.tryRead(got, { position: 0 })).toBe(content.length)
    expect(got.equals(content)).toBe(true)
    expect(cache.stats().pageBytes).toBe(content.length)
    cache.checkInvariants()
  })
})

const DEVICE_BYTES = 2 ** 30

describeWith(['root', 'loop', 'xfs'], 'a device that fails', () => {
  for (const direct of [true, false])
    test(`gives EIO to who asked for what cannot be read, and to nobody else; direct ${direct}`, async () => {
      await using filesystem = await loopFilesystem('xfs', { size: DEVICE_BYTES })
      const at = (name: string) => `${filesystem.path}/${name}`
      // The file lies in the last quarter, behind the log and what the file system needs of the others.
      run('fallocate', '-l', '760M', at('filler'))
      const content = noise(8 * MEBIBYTE, 2)
      writeSynced(at('original'), content)
      clone(at('original'), at('pristine'))
      clone(at('original'), at('diverged'))
      overwrite(at('diverged'), MEBIBYTE, noise(PAGE, 4))
      await settle()
      run('sync', '-f', filesystem.path)
      run('sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches')
      await using cache = await PageCache.create({ memory: '32MiB', direct, yieldUnderPressure: false })
      const files = await Promise.all(['original', 'pristine', 'diverged'].map((name) => cache.open(at(name))))
      const lost = 6 * MEBIBYTE
      fs.truncateSync(filesystem.image, placeOf(filesystem.image, content.subarray(lost, lost + PAGE)))
      try {
        for (const file of files) {
          const buffer = Buffer.alloc(64 * KIBIBYTE)
          // Sequential, so that windows are read ahead into what is lost.
          for (let position = 2 * MEBIBYTE; position < lost; position += buffer.length) {
            expect(await file.read(buffer, { position })).toBe(buffer.length)
            expect(buffer.equals(content.subarray(position, position + buffer.length)), `${position}`).toBe(true)
          }
          const wrong = { code: 'EIO', syscall: 'read', path: file.path }
          await expect(file.read(buffer, { position: lost + PAGE })).rejects.toMatchObject(wrong)
          expect(() => file.readSync(buffer, { position: lost + 9 * PAGE })).toThrow(expect.objectContaining(wrong))
          await expect(file.view(lost, 1)).rejects.toMatchObject(wrong)
          expect(() => file.viewSync(lost, 1)).toThrow(expect.objectContaining(wrong))
          // Over the edge: an error, as natively where nothing of it could be read in one go.
          await expect(file.read(buffer, { position: lost - PAGE })).rejects.toMatchObject(wrong)
          expect(file.tryRead(buffer, { position: lost - PAGE, length: PAGE })).toBe(PAGE)
          // Advice is nobody's question.
          await file.advise('willneed', lost - 8 * PAGE, 64 * PAGE)
        }
        cache.checkInvariants()
      } finally {
        for (const file of files) await file.close()
        fs.truncateSync(filesystem.image, DEVICE_BYTES)
      }
    })
})
