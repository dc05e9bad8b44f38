/** Ranges of files that are somebody's alone: who waits, who is refused, what readers see before, during and after. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type CachedFile, type GrantOptions, PageCache } from '../../../src/index.ts'
import { FileSyncs } from '../../../src/library/file-syncs.ts'
import { noise, PAGE } from '../../support/files.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-grants-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))

const PAGES = 8
let names = 0

/** A cache with a file in it. */
class Setting {
  readonly cache: PageCache
  readonly file: CachedFile
  readonly old: Uint8Array

  constructor(cache: PageCache, file: CachedFile, old: Uint8Array) {
    this.cache = cache
    this.file = file
    this.old = old
  }

  static async create(grants: GrantOptions = {}): Promise<Setting> {
    const old = noise(PAGES * PAGE + 100, ++names)
    const file = path.join(directory, `file-${names}`)
    fs.writeFileSync(file, old)
    const cache = await PageCache.create({ memory: '2MiB', yieldUnderPressure: false, grants })
    return new Setting(cache, await cache.open(file, 'r+'), old)
  }

  async read(position: number, length: number, wait = true): Promise<Buffer> {
    const buffer = Buffer.alloc(length)
    const count = await this.file.read(buffer, { position, wait })
    return buffer.subarray(0, count)
  }

  tryRead(position: number, length: number): Buffer | undefined {
    const buffer = Buffer.alloc(length)
    return this.file.tryRead(buffer, { position }) === undefined ? undefined : buffer
  }

  expected(position: number, length: number): Buffer {
    return Buffer.from(this.old.subarray(position, position + length))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cache.checkInvariants()
    await this.file.close()
    await this.cache.close()
  }
}

/** Whether the promise is still pending after a while. */
async function waits(promise: Promise<unknown>): Promise<boolean> {
  promise.catch(() => {})
  return (await Promise.race([promise.then(() => 'done'), sleep(20).then(() => 'waits')])) === 'waits'
}

const code = (name: string) => expect.objectContaining({ code: name })

for (const isCached of [true, false])
  describe(isCached ? 'pages that are cached' : 'pages that are not cached', () => {
    test('the holder has the bytes alone; others wait; when they are published all have them', async () => {
      await using it = await Setting.create()
      if (isCached) await it.read(0, PAGES * PAGE)
      const grant = await it.file.exclusive({ position: 2 * PAGE + 10, length: PAGE })
      expect(Buffer.from(grant.bytes).equals(it.expected(2 * PAGE + 10, PAGE))).toBe(true)
      grant.bytes.fill(7)

      // The pages that the bytes touch are kept from others, no more.
      expect(await it.read(PAGE, PAGE)).toEqual(it.expected(PAGE, PAGE))
      expect(await it.read(4 * PAGE, PAGE)).toEqual(it.expected(4 * PAGE, PAGE))
      expect(it.tryRead(2 * PAGE, 10)).toBeUndefined()
      expect(it.tryRead(3 * PAGE + 20, 10)).toBeUndefined()
      expect(() => it.file.readSync(Buffer.alloc(10), { position: 2 * PAGE })).toThrow(code('EAGAIN'))
      expect(() => it.file.viewSync(3 * PAGE, 10)).toThrow(code('EAGAIN'))
      expect(() => it.file.writeSync(Buffer.alloc(1), { position: 3 * PAGE })).toThrow(code('EAGAIN'))
      expect(() => it.file.truncateSync(0)).toThrow(code('EAGAIN'))
      await expect(it.read(2 * PAGE, 10, false)).rejects.toEqual(code('EAGAIN'))
      await expect(it.file.view(2 * PAGE, 10, { wait: false })).rejects.toEqual(code('EAGAIN'))
      await expect(it.file.write(Buffer.alloc(1), { position: 2 * PAGE, wait: false })).rejects.toEqual(code('EAGAIN'))
      await it.file.advise('willneed')
      await it.file.advise('dontneed')
      const reading = it.read(PAGE, 2 * PAGE)
      const viewing = it.file.view(2 * PAGE + 10, 5)
      const writing = it.file.write(Buffer.from([9]), { position: 3 * PAGE + 11 })
      for (const promise of [reading, viewing, writing]) expect(await waits(promise)).toBe(true)
      expect(fs.readFileSync(it.file.path).equals(it.old)).toBe(true)

      await grant.publish()
      const published = Buffer.from(it.old)
      published.fill(7, 2 * PAGE + 10, 3 * PAGE + 10)
      expect(await reading).toEqual(published.subarray(PAGE, 3 * PAGE))
      using view = await viewing
      expect([...view.bytes]).toEqual([7, 7, 7, 7, 7])
      await writing
      published[3 * PAGE + 11] = 9
      expect(await it.read(0, it.old.length)).toEqual(published)
      expect(fs.readFileSync(it.file.path).equals(published)).toBe(true)
    })

    test('readers of what was published last go on, on and on', async () => {
      await using it = await Setting.create()
      if (isCached) await it.read(0, PAGES * PAGE)
      const grant = await it.file.exclusive({ position: PAGE, length: 2 * PAGE, readers: 'last-published' })
      grant.bytes.fill(7)
      for (let round = 0; round < 3; round++) {
        expect(await it.read(0, 4 * PAGE)).toEqual(it.expected(0, 4 * PAGE))
        expect(it.tryRead(PAGE, 2 * PAGE)).toEqual(it.expected(PAGE, 2 * PAGE))
      }
      const writing = it.file.write(Buffer.from([9]), { position: PAGE })
      expect(await waits(writing)).toBe(true)
      const publishing = grant.publish({ sync: true })
      // Old or new, never in between.
      for (let isDone = false; !isDone; ) {
        const seen = it.tryRead(PAGE, 2 * PAGE)
        const isNew = seen?.every((byte, i) => byte === 7 || (i === 0 && byte === 9))
        if (seen !== undefined && !isNew) expect(seen).toEqual(it.expected(PAGE, 2 * PAGE))
        isDone = await Promise.race([publishing.then(() => true), sleep(0).then(() => false)])
      }
      await writing
      expect((await it.read(PAGE, 2 * PAGE)).every((byte, i) => byte === (i === 0 ? 9 : 7))).toBe(true)
    })
  })

test('nothing is granted for readers who are told to do what there is not', async () => {
  await using it = await Setting.create()
  const readers = 'last-publish' as 'last-published'
  await expect(it.file.exclusive({ length: PAGE, readers })).rejects.toEqual(code('ERR_INVALID_ARG_VALUE'))
  await using grant = await it.file.exclusive({ length: PAGE, wait: false })
  expect(grant.isEnded).toBe(false)
})

test('what was not published is lost', async () => {
  await using it = await Setting.create()
  const grant = await it.file.exclusive({ length: PAGE })
  grant.bytes.fill(7)
  const reading = it.read(0, PAGE)
  await grant.abandon()
  await grant.abandon()
  expect(grant.isEnded).toBe(true)
  expect(await reading).toEqual(it.expected(0, PAGE))
  await expect(grant.publish()).rejects.toEqual(code('ESTALE'))
  {
    await using scoped = await it.file.exclusive({ length: PAGE })
    scoped.bytes.fill(7)
  }
  expect(await it.read(0, PAGE)).toEqual(it.expected(0, PAGE))
})

test('what is published is what the bytes were at the call, in the file and in the cache, whenever the holder changes them', async () => {
  await using it = await Setting.create()
  const published = async (sync: boolean, change: (fill: () => void) => void) => {
    const grant = await it.file.exclusive({ position: PAGE, length: PAGE })
    grant.bytes.fill(7)
    change(() => grant.bytes.fill(8))
    const publishing = grant.publish({ sync })
    if (!sync) grant.bytes.fill(8)
    await publishing
    for (const bytes of [await it.read(PAGE, PAGE), fs.readFileSync(it.file.path).subarray(PAGE, 2 * PAGE)])
      expect([...new Set(bytes)]).toEqual([7])
  }
  await published(false, () => {})
  // In the file already, and on its way to the disk.
  const synced = vi.spyOn(FileSyncs.prototype, 'write')
  try {
    await published(true, (fill) =>
      synced.mockImplementationOnce(async () => {
        fill()
      }),
    )
    expect(synced).toHaveBeenCalledTimes(1)
  } finally {
    synced.mockRestore()
  }
})

test('a view shows what it showed', async () => {
  await using it = await Setting.create()
  using view = await it.file.view(0, PAGE)
  expect(view.isPinned).toBe(true)
  const grant = await it.file.exclusive({ length: PAGE })
  grant.bytes.fill(7)
  await grant.publish()
  await it.read(0, PAGES * PAGE)
  expect(Buffer.from(view.bytes)).toEqual(it.expected(0, PAGE))
})

test('the range must lie within the file, which must be open for writing', async () => {
  await using it = await Setting.create()
  const size = it.old.length
  for (const [position, length] of [
    [0, 0],
    [0, size + 1],
    [size, 1],
    [size, 0],
  ] as const)
    await expect(it.file.exclusive({ position, length })).rejects.toEqual(code('EINVAL'))
  await expect(it.file.exclusive({ position: -1, length: 2 })).rejects.toEqual(code('ERR_OUT_OF_RANGE'))
  await using reader = await it.cache.open(it.file.path)
  await expect(reader.exclusive()).rejects.toEqual(code('EBADF'))
  // The whole file, which ends within a page.
  const grant = await it.file.exclusive()
  expect(Buffer.from(grant.bytes)).toEqual(Buffer.from(it.old))
  grant.bytes.fill(7)
  await grant.publish()
  expect(fs.readFileSync(it.file.path).every((byte) => byte === 7)).toBe(true)
  expect(it.file.size).toBe(size)
})

test('what lies behind the pages that can be granted is refused as such', async () => {
  await using it = await Setting.create()
  const end = 2 ** 43 - PAGE
  fs.truncateSync(it.file.path, 2 ** 43 + PAGE)
  await using file = await it.cache.open(it.file.path, 'r+')
  for (const position of [end, 2 ** 43 - 1, 2 ** 43, 2 ** 43 + 10])
    await expect(file.exclusive({ position, length: 1 })).rejects.toEqual(code('EFBIG'))
  await using last = await file.exclusive({ position: end - 1, length: 1 })
  await last.publish()
})

test('who waits: in order, not for ever, and not if he does not want to', async () => {
  await using it = await Setting.create()
  const order: string[] = []
  const first = await it.file.exclusive({ length: PAGE })
  const take = async (name: string) => {
    await using grant = await it.file.exclusive({ length: PAGE })
    order.push(name)
    grant.bytes[0] = 0
    await sleep(1)
  }
  const all = ['a', 'b', 'c'].map(take)
  await expect(it.file.exclusive({ length: PAGE, wait: false })).rejects.toEqual(code('EAGAIN'))
  await expect(it.file.exclusive({ length: PAGE, timeoutMs: 10 })).rejects.toEqual(code('ETIMEDOUT'))
  const reason = new Error('enough')
  const controller = new AbortController()
  const aborted = it.file.exclusive({ length: PAGE, signal: controller.signal })
  controller.abort(reason)
  await expect(aborted).rejects.toBe(reason)
  await expect(it.file.exclusive({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  await first.abandon()
  await Promise.all(all)
  expect(order).toEqual(['a', 'b', 'c'])
})

test('holders one after the other do not keep a reader off', async () => {
  await using it = await Setting.create()
  let isDone = false
  let grants = 0
  const hold = async () => {
    for (; !isDone; grants++) {
      await using grant = await it.file.exclusive({ length: PAGE })
      await sleep(1)
      grant.bytes[0] = 0
    }
  }
  const holders = [hold(), hold(), hold()]
  for (let i = 0; i < 5; i++) {
    expect(await it.read(0, PAGE)).toEqual(it.expected(0, PAGE))
    using view = await it.file.view(PAGE - 5, 10)
    expect(Buffer.from(view.bytes)).toEqual(it.expected(PAGE - 5, 10))
  }
  isDone = true
  await Promise.all(holders)
  // Each waits for those that are there when it comes.
  expect(grants).toBeLessThan(50)
})

test('a deadlock between holders with names is found', async () => {
  await using it = await Setting.create()
  await using a = await it.file.exclusive({ position: 0, length: PAGE, holder: 'a' })
  const b = await it.file.exclusive({ position: PAGE, length: PAGE, holder: 'b' })
  const waiting = it.file.exclusive({ position: PAGE, length: PAGE, holder: 'a' })
  await expect(it.file.exclusive({ position: 0, length: PAGE, holder: 'b' })).rejects.toEqual(code('EDEADLK'))
  await b.abandon()
  await (await waiting).abandon()
  a.bytes[0] = 0
})

test('a holder for whom others wait is asked, and then loses its grant', async () => {
  await using it = await Setting.create({ holdMs: 20, revokeMs: 30 })
  const asked: number[] = []
  const onRevoke = (_: unknown, deadlineMs: number) => asked.push(deadlineMs)
  const grant = await it.file.exclusive({ length: PAGE, onRevoke })
  grant.bytes.fill(7)
  expect(await it.read(0, PAGE)).toEqual(it.expected(0, PAGE))
  expect(asked).toEqual([30])
  await expect(grant.publish()).rejects.toEqual(code('ESTALE'))
  await grant.abandon()

  const obedient = await it.file.exclusive({
    length: PAGE,
    onRevoke: (mine) => {
      mine.bytes.fill(8)
      void mine.publish()
    },
  })
  expect(await it.file.revoke({ position: 0, length: 1, deadlineMs: 1000 })).toBe(1)
  expect(await it.file.revoke({ position: PAGE, length: 1, deadlineMs: 1000 })).toBe(0)
  expect((await it.read(0, PAGE)).every((byte) => byte === 8)).toBe(true)
  expect(obedient.isEnded).toBe(true)

  // Without haste, and although nobody waits.
  let ask = (): void => {}
  const isAsked = new Promise<void>((resolve) => (ask = resolve))
  await using _ = await it.file.exclusive({ position: 3 * PAGE, length: PAGE, onRevoke: () => ask() })
  expect(await it.file.revoke({ position: 3 * PAGE, length: 1, deadlineMs: Number.POSITIVE_INFINITY })).toBe(1)
  await isAsked
})

test('a holder that throws when it is asked is the only one to whom that happens', async () => {
  await using it = await Setting.create({ holdMs: 20, revokeMs: 20 })
  const caught: string[] = []
  const onUncaught = (error: Error) => void caught.push(error.message)
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', onUncaught)
  try {
    const asked: number[] = []
    const onRevoke = () => {
      throw new Error('broken')
    }
    const broken = await it.file.exclusive({ length: PAGE, onRevoke })
    const other = await it.file.exclusive({
      position: 2 * PAGE,
      length: PAGE,
      onRevoke: (_, deadlineMs) => asked.push(deadlineMs),
    })
    expect(await it.file.revoke({ position: 0, length: 4 * PAGE, deadlineMs: 10 })).toBe(2)
    expect(await it.read(0, 4 * PAGE)).toEqual(it.expected(0, 4 * PAGE))
    expect(asked).toEqual([10])
    for (const grant of [broken, other]) await expect(grant.publish()).rejects.toEqual(code('ESTALE'))
    expect(caught).toEqual(['broken'])
    // When it is time, as well.
    await it.file.exclusive({ length: PAGE, onRevoke })
    expect(await it.read(0, PAGE)).toEqual(it.expected(0, PAGE))
    expect(caught).toEqual(['broken', 'broken'])
  } finally {
    process.off('uncaughtException', onUncaught)
    for (const listener of others) process.on('uncaughtException', listener)
  }
})

test('who has given up a read or a view takes no grant from its holder, on any thread', async () => {
  await using it = await Setting.create({ holdMs: 1500, revokeMs: 1 })
  // As another thread does it.
  await using remote = await PageCache.attach(it.cache.handle())
  await using other = await remote.open(it.file.path)
  const asked: number[] = []
  const grant = await it.file.exclusive({ length: PAGE, onRevoke: (_, deadlineMs) => asked.push(deadlineMs) })
  const controller = new AbortController()
  const { signal } = controller
  const waiting = [it.file, other].flatMap((file) => [
    file.read(Buffer.alloc(PAGE), { position: 0, signal }),
    file.view(0, PAGE, { signal }),
  ])
  for (const promise of waiting) expect(await waits(promise)).toBe(true)
  controller.abort(new Error('enough'))
  for (const promise of waiting) await expect(promise).rejects.toThrow('enough')
  await sleep(1750)
  expect(asked).toEqual([])
  await grant.publish()
})

test('errors name the file as who gets them opened it: by another link, and after it was renamed', async () => {
  await using it = await Setting.create()
  const [link, renamed] = [`${it.file.path}-link`, `${it.file.path}-renamed`]
  fs.linkSync(it.file.path, link)
  await using file = await it.cache.open(link, 'r+')
  const named = (name: string, path: string) => expect.objectContaining({ code: name, path })
  const byte = Buffer.alloc(1)
  {
    await using _ = await it.file.exclusive({ length: PAGE })
    const options = { position: 0, wait: false }
    for (const [mine, path] of [
      [file, link],
      [it.file, it.file.path],
    ] as const) {
      await expect(mine.read(byte, options)).rejects.toEqual(named('EAGAIN', path))
      await expect(mine.write(byte, options)).rejects.toEqual(named('EAGAIN', path))
      await expect(mine.exclusive({ length: PAGE, wait: false })).rejects.toEqual(named('EAGAIN', path))
      expect(() => mine.readSync(byte, options)).toThrow(named('EAGAIN', path))
      expect(() => mine.writeSync(byte, options)).toThrow(named('EAGAIN', path))
      expect(() => mine.truncateSync(0)).toThrow(
        expect.objectContaining({ message: expect.stringContaining(`'${path}'`) }),
      )
      await expect(mine.exclusive({ position: 1e6, length: 1 })).rejects.toEqual(named('EINVAL', path))
    }
  }
  await file.close()
  const name = `${it.file.path}-other`
  fs.writeFileSync(name, it.old)
  await (await it.cache.open(name)).close()
  fs.renameSync(name, renamed)
  await using again = await it.cache.open(renamed, 'r+')
  await expect(again.exclusive({ position: 1e6, length: 1 })).rejects.toEqual(named('EINVAL', renamed))
})

test('readers wait no longer than the cache is told', async () => {
  await using it = await Setting.create({ waitMs: 20 })
  await using grant = await it.file.exclusive({ length: PAGE })
  await expect(it.read(0, 1)).rejects.toEqual(code('ETIMEDOUT'))
  await expect(it.file.write(grant.bytes, { position: 0 })).rejects.toEqual(code('ETIMEDOUT'))
  await expect(it.file.truncate(1)).rejects.toEqual(code('ETIMEDOUT'))
})

test('writes that overlap one that waits come after it, whatever else is in their way; others do not wait', async () => {
  await using it = await Setting.create()
  const grant = await it.file.exclusive({ position: PAGE, length: PAGE })
  const settled: string[] = []
  const write = (letter: string, page: number, count: number) =>
    it.file.write(Buffer.alloc(count * PAGE, letter), { position: page * PAGE }).then(() => settled.push(letter))
  const writes = [write('a', 0, 2), write('b', 0, 1), write('c', 0, 1)]
  await write('d', 2, 1)
  await it.file.write(Buffer.alloc(1), { position: 6 * PAGE, wait: false })
  await expect(it.file.write(Buffer.alloc(1), { position: 10, wait: false })).rejects.toEqual(code('EAGAIN'))
  writes.push(
    it.file.truncate(PAGE + 10).then(() => settled.push('cut')),
    write('e', 2, 1),
  )
  for (const writing of writes) expect(await waits(writing)).toBe(true)
  await grant.publish()
  await Promise.all(writes)
  expect(settled.filter((each) => each !== 'cut')).toEqual(['d', 'a', 'b', 'c', 'e'])
  const zeros = '\0'.repeat(PAGE - 10)
  expect(fs.readFileSync(it.file.path, 'latin1')).toBe(
    `${'c'.repeat(PAGE)}${'a'.repeat(10)}${zeros}${'e'.repeat(PAGE)}`,
  )
})

test('who waits for a write that waits does so no longer than for a grant', async () => {
  await using it = await Setting.create({ waitMs: 100 })
  await using grant = await it.file.exclusive({ position: PAGE, length: PAGE })
  const began = performance.now()
  const ends = await Promise.allSettled(
    Array.from({ length: 20 }, () => it.file.write(Buffer.alloc(2 * PAGE), { position: 0 })),
  )
  expect(new Set(ends.map((end) => end.status === 'rejected' && end.reason.code))).toEqual(new Set(['ETIMEDOUT']))
  expect(performance.now() - began).toBeLessThan(1000)
  await it.file.write(grant.bytes, { position: 0, wait: false })
})

test('a write whose file cannot be asked for its size leaves nobody waiting, and is told its own error first', async () => {
  await using it = await Setting.create()
  const stale = Object.assign(new Error('ESTALE: stale file handle, fstat'), { code: 'ESTALE', syscall: 'fstat' })
  const { file } = it
  const byte = Buffer.from([7])
  const fstat = vi.spyOn(fs, 'fstatSync')
  const unasked = (change: () => unknown) => {
    fstat.mockImplementationOnce(() => {
      throw Object.assign(new Error(stale.message), stale)
    })
    return change()
  }
  const named = expect.objectContaining({ code: 'ESTALE', syscall: 'fstat', path: file.path })
  try {
    await expect(unasked(() => file.write(byte, { position: 0 }))).rejects.toEqual(named)
    await expect(unasked(() => file.truncate(it.old.length))).rejects.toEqual(named)
    // A grant that somebody holds elsewhere: each passage is one of the table's.
    {
      await using _ = await file.exclusive({ position: PAGE, length: PAGE })
      await expect(unasked(() => file.write(byte, { position: 0 }))).rejects.toEqual(named)
      expect(() => unasked(() => file.writeSync(byte, { position: 0 }))).toThrow(named)
    }
    const full = Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO', syscall: 'write' })
    const written = vi.spyOn(fs, 'writeSync').mockImplementationOnce(() => {
      throw full
    })
    expect(() => unasked(() => file.writeSync(byte, { position: 0 }))).toThrow(
      expect.objectContaining({ code: 'EIO', syscall: 'write', path: file.path }),
    )
    written.mockRestore()
  } finally {
    fstat.mockRestore()
  }
  await using _ = await file.exclusive({ timeoutMs: 500 })
})

test('closing the file ends its grants, and those that it waits for', async () => {
  await using it = await Setting.create()
  const other = await it.cache.open(it.file.path, 'r+')
  const grant = await other.exclusive({ length: PAGE })
  const waiting = other.exclusive({ length: PAGE })
  const rejected = expect(waiting).rejects.toEqual(code('ECANCELED'))
  await other.close()
  await rejected
  expect(await it.read(0, PAGE)).toEqual(it.expected(0, PAGE))
  await expect(grant.publish()).rejects.toEqual(code('ESTALE'))
})

test('grants of pages far apart, and more entries than a leaf has', async () => {
  await using it = await Setting.create()
  fs.truncateSync(it.file.path, 1000 * PAGE)
  await using file = await it.cache.open(it.file.path, 'r+')
  const grants = await Promise.all(
    [0, 1, 2, 3, 4].map((i) => file.exclusive({ position: i * 200 * PAGE, length: 150 * PAGE })),
  )
  it.cache.checkInvariants()
  for (const [i, grant] of grants.entries()) grant.bytes.fill(i + 1)
  await Promise.all(grants.map((grant) => grant.publish()))
  const content = fs.readFileSync(it.file.path)
  for (let i = 0; i < 5; i++)
    expect(content.subarray(i * 200 * PAGE, (i * 200 + 150) * PAGE).every((byte) => byte === i + 1)).toBe(true)
})
