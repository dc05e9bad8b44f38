/** The library's surface on a directory of any file system: options, views, advice, streams, errors of the caller. */
import { once } from 'node:events'
import fs from 'node:fs'
import vm from 'node:vm'
import { expect, test, vi } from 'vitest'
import { type CachedFile, PageCache, type PageCacheOptions } from '../../../src/index.ts'
import { Arena } from '../../../src/library/arena.ts'
import { MEBIBYTE, noise, PAGE } from '../../support/files.ts'
import { scratchFiles } from '../../support/scratch-files.ts'

const fileOf = scratchFiles()

function create(options: Partial<PageCacheOptions> = {}): Promise<PageCache> {
  return PageCache.create({ memory: '4MiB', yieldUnderPressure: false, ...options })
}

test('sizes are bytes or what people write; what makes no sense is refused', async () => {
  for (const memory of ['1MiB', '1m', 2 ** 20, `${2 ** 20}`]) {
    await using cache = await PageCache.create({ memory })
    expect(cache.stats().memoryMax).toBe(2 ** 20)
  }
  for (const memory of ['', 'much', '-1', '1KiB', 0, -5, 1000, Number.NaN, Number.POSITIVE_INFINITY])
    await expect(PageCache.create({ memory }), String(memory)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  await using cache = await create()
  for (const memory of ['8MiB', '1KiB', 'x']) expect(() => cache.resize(memory)).toThrow(RangeError)
  cache.resize('1MiB')
  expect(cache.stats().memoryMax).toBe(MEBIBYTE)
  cache.resize('4MiB')
})

test('options that make no sense are refused', async () => {
  const nan = Number.NaN
  const wrong: Partial<PageCacheOptions>[] = [
    ...[-1, 0, 1.5, 1e9, nan, '3' as unknown as number].map((threads) => ({ threads })),
    ...[-1, 1.5, 1e9, nan].map((pinsPerThread) => ({ pinsPerThread })),
    ...[-1, nan].map((minShareBytes) => ({ minShareBytes })),
    ...[-1, nan].flatMap((ms) => [{ waitMs: ms }, { holdMs: ms }, { revokeMs: ms }].map((grants) => ({ grants }))),
    ...['128GiB', '64TiB'].map((memory) => ({ memory })),
    ...['0.5', -1, nan, null].map((cpu) => ({ merge: { cpu: cpu as number } })),
  ]
  const refused = expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
  for (const options of wrong)
    await expect(create(options), `${Object.keys(options)} ${JSON.stringify(options)}`).rejects.toThrow(refused)
  const forever = { waitMs: Number.POSITIVE_INFINITY }
  await using cache = await create({ threads: 1, pinsPerThread: 0, minShareBytes: 0, grants: forever })
  await using file = await cache.open(fileOf(noise(100, 1)))
  for (const options of [
    { end: -1 },
    { end: null as unknown as number },
    { start: 5, end: 2 },
    { start: nan },
    ...[0, -1, 1.5, nan].map((highWaterMark) => ({ highWaterMark })),
  ])
    expect(() => file.createReadStream(options), JSON.stringify(options)).toThrow(refused)
  await expect(file.advise('foo' as 'normal')).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
})

test('options, signals and numbers of another type are refused, wherever they are given', async () => {
  await using cache = await create()
  await using file = await cache.open(fileOf(noise(2 * PAGE, 1)), 'r+')
  const buffer = Buffer.alloc(10)
  const wrong = (value: unknown) => value as undefined
  const calls: Record<string, () => unknown> = {
    'readv null': () => file.readv([buffer], 0, wrong(null)),
    'view null': () => file.view(0, 1, wrong(null)),
    'merge null': () => cache.merge([], wrong(null)),
    'merge of no file': () => cache.merge([wrong({})!]),
    'attach {}': () => PageCache.attach(wrong({})!),
    'attach undefined': () => PageCache.attach(undefined!),
    'bigint position': () => file.read(buffer, { position: wrong(0n)! }),
    'write null offset': () => file.write(buffer, { position: 0, offset: wrong(null) }),
    'writeSync bigint length': () => file.writeSync(buffer, { position: 0, length: wrong(1n) }),
    'bigint length': () => file.truncate(wrong(5n)),
    'readv bigint': () => file.readv([buffer], wrong(0n)!),
    'readvSync bigint': () => file.readvSync([buffer], wrong(0n)!),
    'readv of null': () => file.readv(wrong(null)!, 0),
    'readvSync of 5': () => file.readvSync(wrong(5)!, 0),
    'bigint offset': () => file.read(buffer, { position: 0, offset: wrong(1n) }),
    'readSync bigint offset': () => file.readSync(buffer, { position: 0, offset: wrong(1n) }),
    'tryRead bigint offset': () => file.tryRead(buffer, { position: 0, offset: wrong(1n) }),
    'advise bigint': () => file.advise('willneed', wrong(0n)),
    'advise bigint length': () => file.advise('willneed', 0, wrong(1n)),
    'exclusive bigint': () => file.exclusive({ position: wrong(0n) }),
    'stream bigint': () => file.createReadStream({ start: wrong(0n) }),
    'null offset': () => file.read(buffer, { position: 0, offset: wrong(null) }),
    'null length': () => file.readSync(buffer, { position: 0, length: wrong(null) }),
    'view of a string': () => file.view(wrong('0')!, 10),
    'viewSync of a string': () => file.viewSync(0, wrong('10')!),
    'merge of null': () => cache.merge(wrong(null)!),
    'merge of 5': () => cache.merge(wrong(5)!),
  }
  for (const options of [null, 'utf8', 5]) calls[`stream ${options}`] = () => file.createReadStream(wrong(options))
  for (const given of [null, {}, 'x']) {
    const signal = wrong(given)
    calls[`read signal ${given}`] = () => file.read(buffer, { position: 0, signal })
    calls[`view signal ${given}`] = () => file.view(0, 1, { signal })
    calls[`stream signal ${given}`] = () => file.createReadStream({ signal })
    calls[`merge signal ${given}`] = () => cache.merge([file], { signal })
    calls[`exclusive signal ${given}`] = () => file.exclusive({ signal })
  }
  for (const given of [0, 1, 'no', null]) {
    const value = wrong(given)
    for (const name of ['direct', 'share', 'yieldUnderPressure', 'debug'])
      calls[`${name}: ${given}`] = () => create({ [name]: value })
    for (const name of ['onLoad', 'scan']) calls[`merge.${name}: ${given}`] = () => create({ merge: { [name]: value } })
    calls[`onProgress ${given}`] = () => cache.merge([], { onProgress: value })
    calls[`onRevoke ${given}`] = () => file.exclusive({ onRevoke: value })
  }
  for (const given of ['never', -1, 5, null]) calls[`grants: ${given}`] = () => create({ grants: wrong(given) })
  const refused = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
  for (const [name, call] of Object.entries(calls)) await expect((async () => call())(), name).rejects.toEqual(refused)
})

test('a view of a cache for debugging is a copy, and says so', async () => {
  await using cache = await create({ debug: true })
  await using file = await cache.open(fileOf(noise(3 * PAGE, 1)))
  for (const length of [10, 2 * PAGE]) {
    using view = await file.view(0, length)
    expect(view.isPinned).toBe(false)
  }
})

test('caches of more than 31 GiB can be made; without system calls of more than 4 GiB', async () => {
  await using cache = await create({ memory: '32GiB' })
  expect(cache.stats().memoryMax).toBe(32 * 2 ** 30)
  const frames = (5 * 2 ** 30) / PAGE
  const arena = Arena.create(frames, undefined)
  for (const frame of [0, 2 ** 18, frames - 1]) arena.bytes(frame).fill(frame % 251)
  const bytes = new Uint8Array(1)
  for (const frame of [0, 2 ** 18, frames - 1]) {
    arena.copy(frame, PAGE - 1, 1, bytes, 0)
    expect(bytes[0]).toBe(frame % 251)
  }
})

test('a truncation comes after the writes that were asked for before it, and before those that are asked for later', async () => {
  await using cache = await create()
  const name = fileOf(Buffer.alloc(0))
  await using file = await cache.open(name, 'r+')
  for (let round = 0; round < 20; round++) {
    const writes = Array.from({ length: 8 }, (_, i) => file.write(noise(64 * 1024, i), { position: i * 70_000 }))
    await Promise.all([...writes, file.truncate()])
    expect(fs.readFileSync(name).length).toBe(0)
    await Promise.all([
      file.write(Buffer.from('cut off'), { position: 0 }),
      file.truncate(3),
      file.write(Buffer.from('kept'), { position: 3 }),
    ])
    expect(fs.readFileSync(name, 'latin1')).toBe('cutkept')
    const bytes = Buffer.alloc(20)
    expect(await file.read(bytes, { position: 0 })).toBe(7)
    expect(bytes.toString('latin1', 0, 7)).toBe('cutkept')
  }
})

test('memory that other threads change while it is written: the cache shows what the file got', async () => {
  await using cache = await create()
  const name = fileOf(noise(2 * PAGE, 1))
  await using file = await cache.open(name, 'r+')
  const bytes = new Uint8Array(new SharedArrayBuffer(2 * PAGE)).fill(7)
  const { writeSync } = fs
  const written = vi.spyOn(fs, 'writeSync').mockImplementation(((...given: Parameters<typeof writeSync>) => {
    const count = writeSync(...given)
    bytes.fill(8)
    return count
  }) as typeof writeSync)
  try {
    file.writeSync(bytes, { position: 0 })
  } finally {
    written.mockRestore()
  }
  const buffer = Buffer.alloc(2 * PAGE)
  await file.read(buffer, { position: 0 })
  expect(buffer.equals(fs.readFileSync(name))).toBe(true)
})

test('an option that is undefined is one that is not given', async () => {
  const none = undefined
  const grants = { waitMs: none, holdMs: none, revokeMs: none }
  const merge = { cpu: none, onLoad: none, scan: none }
  await using cache = await create({
    direct: none,
    share: none,
    threads: none,
    pinsPerThread: none,
    debug: none,
    grants,
    merge,
  })
  const content = noise(10_000, 1)
  await using file = await cache.open(fileOf(content), 'r+', { domain: none })
  const buffer = Buffer.alloc(10_000)
  expect(await file.read(buffer, { position: 0, offset: none, length: none, signal: none, wait: none })).toBe(10_000)
  expect(buffer.equals(content)).toBe(true)
  expect(await file.readv([buffer], 0, { signal: none })).toBe(10_000)
  const plain = { start: none, end: none, highWaterMark: none, encoding: none, signal: none }
  for await (const chunk of file.createReadStream(plain)) expect((chunk as Buffer).equals(content)).toBe(true)
  const wish = { position: none, length: none, timeoutMs: none, holder: none, readers: none, onRevoke: none }
  await using grant = await file.exclusive({ ...wish, wait: none, signal: none })
  expect(grant.bytes.length).toBe(10_000)
  await expect(file.read(buffer, { position: 0, wait: false })).rejects.toMatchObject({ code: 'EAGAIN' })
  await grant.publish({ sync: none })
  await cache.merge([file], { signal: none, onProgress: none })
})

test('numbers that are no place in a file, or not within the buffer, are refused everywhere', async () => {
  await using cache = await create()
  await using file = await cache.open(fileOf(noise(10_000, 1)), 'r+')
  const buffer = Buffer.alloc(100)
  const wrong = [
    { position: -1 },
    { position: 0.5 },
    { position: Number.NaN },
    { position: 2 ** 53 },
    { position: 0, offset: 101 },
    { position: 0, offset: -1 },
    { position: 0, offset: 50, length: 51 },
    { position: 0, length: -1 },
    { position: 0, length: 1.5 },
  ]
  for (const options of wrong) {
    for (const read of ['tryRead', 'readSync'] as const)
      expect(() => file[read](buffer, options), JSON.stringify(options)).toThrow(
        expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
      )
    await expect(file.read(buffer, options)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  }
  // What is told is what was given.
  const behind = expect.objectContaining({ message: expect.stringContaining('offset 101') })
  expect(() => file.readSync(buffer, { position: 0, offset: 101 })).toThrow(behind)
  for (const ms of [Number.NaN, -1, '5', null] as number[]) {
    await expect(file.exclusive({ timeoutMs: ms })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    const revoked = file.revoke({ position: 0, length: 1, deadlineMs: ms })
    await expect(revoked).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  }
  for (const position of [-1, 0.5, Number.NaN]) {
    expect(() => file.viewSync(position, 1)).toThrow(RangeError)
    await expect(file.view(position, 1)).rejects.toThrow(RangeError)
    await expect(file.write(buffer, { position })).rejects.toThrow(RangeError)
    expect(() => file.writeSync(buffer, { position })).toThrow(RangeError)
    await expect(file.truncate(position)).rejects.toThrow(RangeError)
  }
  expect(fs.statSync(file.path).size).toBe(10_000)
  expect(() => cache.openSync(file.path, 'w' as 'r')).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
  )
})

test('a write takes its offset and its length, as a read does', async () => {
  await using cache = await create()
  // As another thread does it.
  await using remote = await PageCache.attach(cache.handle())
  const name = fileOf(Buffer.alloc(10, '.'))
  await using file = await cache.open(name, 'r+')
  await using other = await remote.open(name, 'r+')
  const bytes = Buffer.from('0123456789')
  const shown = () => fs.readFileSync(name, 'latin1')
  await file.write(bytes, { position: 0, offset: 2, length: 3 })
  expect(shown()).toBe('234.......')
  file.writeSync(bytes, { position: 4, length: 2 })
  expect(shown()).toBe('234.01....')
  await other.write(bytes, { position: 7, offset: 8 })
  expect(shown()).toBe('234.01.89.')
  const got = Buffer.alloc(10)
  expect([file.readSync(got, { position: 0 }), got.toString()]).toEqual([10, '234.01.89.'])
  const wrong = [{ offset: 11 }, { offset: -1 }, { offset: 5, length: 6 }, { length: 11 }, { offset: 0.5 }]
  for (const options of wrong) {
    expect(() => file.writeSync(bytes, { position: 0, ...options }), JSON.stringify(options)).toThrow(RangeError)
    await expect(file.write(bytes, { position: 0, ...options }), JSON.stringify(options)).rejects.toThrow(RangeError)
  }
  expect(shown()).toBe('234.01.89.')
})

test('what is no Uint8Array is refused everywhere, on every thread; another realm’s is one', async () => {
  await using cache = await create()
  // As another thread does it.
  await using remote = await PageCache.attach(cache.handle())
  const content = noise(10_000, 1)
  const name = fileOf(content)
  await using file = await cache.open(name, 'r+')
  await using other = await remote.open(name, 'r+')
  const refused = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
  const wrong = ['hello', '12345', [1, 2], {}, new Uint16Array(4), new Float32Array(4), new Int8Array(4)]
  const views = [new DataView(new ArrayBuffer(8)), new ArrayBuffer(8), 7, Object.create(null)]
  for (const given of [...wrong, ...views]) {
    const bytes = given as Uint8Array
    expect(() => file.writeSync(bytes, { position: 0 })).toThrow(refused)
    expect(() => file.readvSync([bytes], 0)).toThrow(refused)
    for (const it of [file, other]) {
      expect(() => it.tryRead(bytes, { position: 0 })).toThrow(refused)
      expect(() => it.readSync(bytes, { position: 0, length: 1 })).toThrow(refused)
      await expect(it.read(bytes, { position: 0 })).rejects.toThrow(refused)
      await expect(it.write(bytes, { position: 0 })).rejects.toThrow(refused)
    }
  }
  expect(fs.readFileSync(name).equals(content)).toBe(true)
  const foreign = vm.runInNewContext('new Uint8Array(100)') as Uint8Array
  expect(file.readSync(foreign, { position: 50 })).toBe(100)
  expect(content.subarray(50, 150).equals(foreign)).toBe(true)
})

test('what is not given at all, or is no options, is refused as such', async () => {
  await using cache = await create()
  const name = fileOf(noise(100, 1))
  await using file = await cache.open(name, 'r+')
  const refused = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
  for (const none of [undefined, null, 5] as unknown[] as never[]) {
    for (const call of ['tryRead', 'readSync', 'writeSync'] as const) {
      expect(() => file[call](none, { position: 0 }), call).toThrow(refused)
      expect(() => file[call](Buffer.alloc(1), none), call).toThrow(refused)
    }
    await expect(file.read(none, { position: 0 })).rejects.toEqual(refused)
    await expect(file.read(Buffer.alloc(1), none)).rejects.toEqual(refused)
    await expect(file.write(none, { position: 0 })).rejects.toEqual(refused)
    await expect(file.write(Buffer.alloc(1), none)).rejects.toEqual(refused)
    await expect(file.revoke(none)).rejects.toEqual(refused)
    await expect(PageCache.create(none)).rejects.toEqual(refused)
    if (none === undefined) continue
    await expect(file.exclusive(none)).rejects.toEqual(refused)
    await expect(cache.open(name, 'r', none)).rejects.toEqual(refused)
  }
})

test('a closed file, and a file of a closed cache, give EBADF and nothing else', async () => {
  const cache = await create()
  const name = fileOf(noise(10_000, 1))
  const closed = await cache.open(name)
  closed.readSync(Buffer.alloc(100), { position: 0 })
  await closed.close()
  await closed.close()
  const open = await cache.open(name)
  open.readSync(Buffer.alloc(100), { position: 0 })
  await cache.close()
  for (const file of [closed, open]) {
    const buffer = Buffer.alloc(100)
    const bad = expect.objectContaining({ code: 'EBADF' })
    expect(() => file.readSync(buffer, { position: 0 })).toThrow(bad)
    expect(() => file.tryRead(buffer, { position: 0 })).toThrow(bad)
    expect(() => file.viewSync(0, 1)).toThrow(bad)
    expect(() => file.statSync()).toThrow(bad)
    expect(() => file.createReadStream()).toThrow(bad)
    await expect(file.read(buffer, { position: 0 })).rejects.toEqual(bad)
    await expect(file.view(0, 1)).rejects.toEqual(bad)
    await expect(file.sync()).rejects.toEqual(bad)
    await expect(file.advise('willneed')).rejects.toEqual(bad)
  }
  await expect(cache.open(name)).rejects.toThrow('closed')
})

test('errors have code, syscall and path, also those of files and caches that are closed', async () => {
  const cache = await create()
  // As another thread does it.
  const remote = await PageCache.attach(cache.handle())
  const name = fileOf(noise(10_000, 1))
  const named = (code: string, syscall: string) => expect.objectContaining({ code, syscall, path: name })
  const byte = Buffer.alloc(1)
  const file = await cache.open(name, 'r+')
  const grant = await file.exclusive({ length: 1 })
  {
    await using other = await remote.open(name, 'r+')
    const fstat = vi.spyOn(fs, 'fstatSync').mockImplementation(() => {
      throw Object.assign(new Error('ESTALE: stale file handle, fstat'), { code: 'ESTALE', syscall: 'fstat' })
    })
    try {
      for (const it of [file, other]) {
        expect(() => it.statSync()).toThrow(named('ESTALE', 'fstat'))
        await expect(it.stat()).rejects.toEqual(named('ESTALE', 'fstat'))
      }
    } finally {
      fstat.mockRestore()
    }
  }
  {
    await using reader = await cache.open(name)
    await expect(reader.truncate()).rejects.toEqual(named('EBADF', 'ftruncate'))
    await expect(reader.exclusive()).rejects.toEqual(named('EBADF', 'exclusive'))
  }
  await file.close()
  await expect(grant.publish()).rejects.toEqual(named('ESTALE', 'publish'))
  for (const [syscall, call] of [
    ['read', () => file.readSync(byte, { position: 0 })],
    ['read', () => file.tryRead(byte, { position: 0 })],
    ['read', () => file.viewSync(0, 1)],
    ['write', () => file.writeSync(byte, { position: 0 })],
    ['fstat', () => file.statSync()],
    ['ftruncate', () => file.truncateSync()],
    ['fsync', () => file.syncSync()],
    ['fdatasync', () => file.datasyncSync()],
  ] as const)
    expect(call, syscall).toThrow(named('EBADF', syscall))
  for (const [syscall, call] of [
    ['read', file.read(byte, { position: 0 })],
    ['write', file.write(byte, { position: 0 })],
    ['fdatasync', file.datasync()],
    ['exclusive', file.exclusive()],
    ['revoke', file.revoke({ position: 0, length: 1, deadlineMs: 1 })],
  ] as const)
    await expect(call, syscall).rejects.toEqual(named('EBADF', syscall))

  // The cache is closed while they are under way, or has been.
  const other = await remote.open(name, 'r+')
  const held = await other.exclusive({ position: 5000, length: 1 })
  const calls = [
    remote.open(name),
    other.read(byte, { position: 0 }),
    other.write(byte, { position: 0 }),
    other.sync(),
    other.exclusive({ position: 5000, length: 1 }),
  ]
  const opening = cache.open(name)
  const settled = Promise.allSettled(calls)
  await Promise.all([cache.close(), expect(opening).rejects.toEqual(named('EBADF', 'open'))])
  for (const outcome of [...(await settled), ...(await Promise.allSettled([held.publish(), remote.open(name)]))])
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ECONNRESET', path: name } })
  await other.close().catch(() => {})
  await remote.close()
})

test('a read that is under way when its file is closed gives EBADF, not what has the descriptor now', async () => {
  await using cache = await create({ direct: false })
  const file = await cache.open(fileOf(noise(64 * PAGE, 1)))
  const reads = Array.from({ length: 8 }, (_, i) => file.read(Buffer.alloc(PAGE), { position: i * 8 * PAGE }))
  const views = Array.from({ length: 8 }, (_, i) => file.view((i * 8 + 4) * PAGE, PAGE))
  await file.close()
  for (const outcome of await Promise.allSettled([...reads, ...views]))
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'EBADF', syscall: 'read', path: file.path } })
  cache.checkInvariants()
})

test('a file that the end of its cache has closed can be closed, on every thread', async () => {
  const name = fileOf(noise(10_000, 1))
  const cache = await create()
  const [remote, leaving] = [await PageCache.attach(cache.handle()), await PageCache.attach(cache.handle())]
  const files = await Promise.all([cache, cache, remote, remote, leaving, leaving].map((each) => each.open(name)))
  await leaving.close()
  const underWay = files[2]!.close()
  await cache.close()
  await underWay
  for (const file of files) {
    file.closeSync()
    await file.close()
  }
  const left = fs.readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`) === name
    } catch {
      return false
    }
  })
  expect(left).toEqual([])
})

test('a second close waits for the first', async () => {
  const cache = await create()
  // As another thread does it.
  const remote = await PageCache.attach(cache.handle())
  const file = await remote.open(fileOf(noise(MEBIBYTE, 1)))
  const settled: string[] = []
  const first = file.close().then(() => settled.push('file'))
  await file.close()
  expect(settled).toEqual(['file'])
  await first
  await file.close()
  await remote.close()
  const own = await cache.open(file.path)
  const read = own.read(Buffer.alloc(MEBIBYTE), { position: 0 }).catch(() => {})
  void cache.close().then(() => settled.push('cache'))
  await cache.close()
  expect(settled).toEqual(['file', 'cache'])
  await cache.close()
  await read
})

test('views: parts in the order of the file, no copies, and bytes that stay when the file changes', async () => {
  await using cache = await create()
  const content = noise(5 * PAGE + 100, 2)
  await using file = await cache.open(fileOf(content), 'r+')
  {
    using view = await file.view(1000, 3 * PAGE)
    expect(view.parts.map(({ length }) => length)).toEqual([PAGE - 1000, PAGE, PAGE, 1000])
    expect([view.length, view.isPinned]).toEqual([3 * PAGE, true])
    expect(Buffer.compare(view.bytes, content.subarray(1000, 1000 + 3 * PAGE))).toBe(0)
    file.writeSync(Buffer.alloc(3 * PAGE, 7), { position: 0 })
    expect(Buffer.compare(view.bytes, content.subarray(1000, 1000 + 3 * PAGE))).toBe(0)
    using after = file.viewSync(0, PAGE)
    expect(Buffer.compare(after.bytes, Buffer.alloc(PAGE, 7))).toBe(0)
  }
  using end = file.viewSync(5 * PAGE, 10 * PAGE)
  expect(end.length).toBe(100)
  using beyond = await file.view(99 * PAGE, 10)
  expect([beyond.length, beyond.bytes.length]).toEqual([0, 0])
  using nothing = await file.view(0, 0)
  expect(nothing.length).toBe(0)
  cache.checkInvariants()
})

test('views beyond the pins of a thread are copies, and say so', async () => {
  await using cache = await create({ pinsPerThread: 2 })
  const content = noise(4 * PAGE, 3)
  await using file = await cache.open(fileOf(content))
  {
    using view = await file.view(0, 4 * PAGE)
    expect(view.isPinned).toBe(false)
    expect(Buffer.compare(view.bytes, content)).toBe(0)
  }
  using view = await file.view(0, 2 * PAGE)
  expect(view.isPinned).toBe(true)
})

test('debug: what was kept of a view after it was disposed is gone', async () => {
  await using cache = await create({ debug: true })
  const content = noise(2 * PAGE, 4)
  await using file = await cache.open(fileOf(content))
  let kept: readonly Uint8Array[]
  {
    using view = await file.view(0, 2 * PAGE)
    kept = view.parts
    expect(Buffer.compare(Buffer.concat(kept), content)).toBe(0)
    view.dispose()
    view.dispose()
  }
  expect(kept.map(({ length }) => length)).toEqual([0, 0])
  using again = file.viewSync(PAGE, PAGE)
  expect(Buffer.compare(again.bytes, content.subarray(PAGE))).toBe(0)
})

test('streams: ranges, a position far in, an end that is not there, and an abort', async () => {
  await using cache = await create()
  const content = noise(300_000, 5)
  await using file = await cache.open(fileOf(content))
  for (const [start, end] of [
    [0, undefined],
    [1, 99],
    [4095, 4096],
    [250_000, 999_999],
    [299_999, undefined],
    [300_000, undefined],
  ] as const) {
    const range = end === undefined ? { start } : { start, end }
    const chunks: Buffer[] = []
    for await (const chunk of file.createReadStream({ ...range, highWaterMark: 7000 })) chunks.push(chunk)
    expect(Buffer.concat(chunks).equals(content.subarray(start, end === undefined ? undefined : end + 1))).toBe(true)
  }
  const abort = new AbortController()
  await expect(
    (async () => {
      for await (const _ of file.createReadStream({ highWaterMark: 1000, signal: abort.signal })) abort.abort()
    })(),
  ).rejects.toThrow(/abort/i)
})

test('streams give strings where an encoding is given, also of characters that two chunks have', async () => {
  await using cache = await create()
  const text = 'ä€😀'.repeat(100)
  await using file = await cache.open(fileOf(Buffer.from(text)))
  const chunks: unknown[] = []
  for await (const chunk of file.createReadStream({ encoding: 'utf8', highWaterMark: 10 })) chunks.push(chunk)
  expect(chunks.every((chunk) => typeof chunk === 'string')).toBe(true)
  expect(chunks.join('')).toBe(text)
  const unknown = { encoding: 'utf-80' as 'utf8' }
  expect(() => file.createReadStream(unknown)).toThrow(expect.objectContaining({ code: 'ERR_UNKNOWN_ENCODING' }))
})

test('datasyncSync is fdatasync, syncSync is fsync', async () => {
  await using cache = await create()
  await using file = await cache.open(fileOf(noise(100, 6)), 'r+')
  const called: string[] = []
  for (const name of ['fsyncSync', 'fdatasyncSync'] as const)
    vi.spyOn(fs, name).mockImplementation(() => void called.push(name))
  try {
    file.datasyncSync()
    file.syncSync()
  } finally {
    vi.restoreAllMocks()
  }
  expect(called).toEqual(['fdatasyncSync', 'fsyncSync'])
})

test('as many reads as anybody likes may be under one signal', async () => {
  await using cache = await create()
  await using file = await cache.open(fileOf(noise(4 * MEBIBYTE, 9)), 'r+')
  const warnings: Error[] = []
  const heard = (warning: Error) => void warnings.push(warning)
  process.on('warning', heard)
  const { signal } = new AbortController()
  const positions = Array.from({ length: 40 }, (_, i) => i * 16 * PAGE)
  await Promise.all(positions.map((position) => file.read(Buffer.alloc(PAGE), { position, signal })))
  const grants = await Promise.all(positions.map((position) => file.exclusive({ position, length: PAGE, signal })))
  for (const grant of grants) await grant.abandon()
  await new Promise(setImmediate)
  process.off('warning', heard)
  expect(warnings).toEqual([])
})

test('whatever has `aborted` is a signal, whether anybody has to wait or not', async () => {
  await using cache = await create()
  // As another thread does it.
  await using remote = await PageCache.attach(cache.handle())
  const path = fileOf(noise(64 * PAGE, 9))
  await using own = await cache.open(path, 'r+')
  await using other = await remote.open(path, 'r+')
  const signalOf = (parts: object) => parts as AbortSignal
  const buffer = Buffer.alloc(PAGE)
  for (const file of [own, other]) {
    const calls = (signal: AbortSignal) => [
      () => file.read(buffer, { position: 0, signal }),
      () => file.readv([buffer], PAGE, { signal }),
      () => file.view(2 * PAGE, PAGE, { signal }).then((view) => view.dispose()),
      () => file.exclusive({ position: 3 * PAGE, length: 1, signal }).then((grant) => grant.abandon()),
      () => (file === own ? cache : remote).merge([file], { signal }),
      () => file.createReadStream({ end: PAGE, signal }).toArray(),
    ]
    const listening = { addEventListener: () => {}, removeEventListener: () => {} }
    for (const parts of [{}, listening, { throwIfAborted: 5 }])
      for (const isCached of [false, true]) {
        await file.advise(isCached ? 'willneed' : 'dontneed')
        for (const call of calls(signalOf({ aborted: false, ...parts }))) await call()
      }
    const why = new Error('enough')
    for (const call of calls(signalOf({ aborted: true, reason: why }))) await expect(call()).rejects.toBe(why)
    for (const call of calls(signalOf({ aborted: true })))
      await expect(call()).rejects.toMatchObject({ name: 'AbortError' })
  }
  // One that is heard by way of its listeners alone.
  const heard = new Set<() => void>()
  const late = {
    aborted: false,
    reason: undefined as unknown,
    addEventListener: (_: string, listener: () => void) => heard.add(listener),
    removeEventListener: (_: string, listener: () => void) => heard.delete(listener),
  }
  const grant = await own.exclusive({ length: PAGE })
  const calls = [own, other].flatMap((file) => [
    file.read(buffer, { position: 0, signal: signalOf(late) }),
    file.exclusive({ length: 1, signal: signalOf(late) }),
  ])
  const outcomes = Promise.allSettled(calls)
  await new Promise((resolve) => setTimeout(resolve, 50))
  Object.assign(late, { aborted: true, reason: new Error('late') })
  for (const listener of [...heard]) listener()
  for (const outcome of await outcomes) expect(outcome).toMatchObject({ reason: { message: 'late' } })
  await grant.abandon()
  await vi.waitFor(() => expect(heard.size).toBe(0))
  // And one that nobody hears: it is looked at when the wait is over, and nothing is left held.
  for (const file of [own, other]) {
    const holding = await own.exclusive({ length: PAGE })
    const silent = { aborted: false }
    const waiting = file.exclusive({ length: 1, signal: signalOf(silent) })
    const outcome = expect(waiting).rejects.toMatchObject({ name: 'AbortError' })
    await new Promise((resolve) => setTimeout(resolve, 50))
    silent.aborted = true
    await holding.abandon()
    await outcome
    await (await own.exclusive({ length: 1, timeoutMs: 5000 })).abandon()
    const between = { aborted: false, reason: new Error('between two chunks') }
    const stream = file.createReadStream({ highWaterMark: PAGE, signal: signalOf(between) })
    stream.once('data', () => Object.assign(between, { aborted: true }))
    await expect(once(stream, 'end')).rejects.toBe(between.reason)
  }
})

test('an abort between two windows of a read, or two tries of a view, is heard', async () => {
  await using cache = await create({ memory: '1MiB' })
  await using file = await cache.open(fileOf(noise(4 * MEBIBYTE, 9)))
  const { signal, aborted } = abortingBeforeListener(2)
  await expect(file.read(Buffer.alloc(4 * MEBIBYTE), { position: 0, signal })).rejects.toThrow('enough')
  expect(aborted()).toBe(true)
  const again = abortingBeforeListener(2)
  // It does not fit.
  await expect(file.view(0, 4 * MEBIBYTE, { signal: again.signal })).rejects.toThrow('enough')
  expect(again.aborted()).toBe(true)
})

/** A signal that aborts just before somebody listens to it for the `count`th time. */
function abortingBeforeListener(count: number): { readonly signal: AbortSignal; readonly aborted: () => boolean } {
  const controller = new AbortController()
  const { signal } = controller
  const listen = signal.addEventListener.bind(signal)
  signal.addEventListener = (...args: Parameters<typeof listen>) => {
    if (--count === 0) controller.abort(new Error('enough'))
    listen(...args)
  }
  return { signal, aborted: () => signal.aborted }
}

test('readv fills one buffer after the other and stops at the end', async () => {
  await using cache = await create()
  const content = noise(10_000, 6)
  await using file = await cache.open(fileOf(content))
  for (const read of [
    (buffers: Buffer[]) => file.readv(buffers, 3000),
    (buffers: Buffer[]) => file.readvSync(buffers, 3000),
  ]) {
    const buffers = [5000, 0, 1500, 4000, 100].map((length) => Buffer.alloc(length))
    expect(await read(buffers)).toBe(7000)
    expect(Buffer.concat(buffers).subarray(0, 7000).equals(content.subarray(3000))).toBe(true)
  }
})

test('readv looks at the file and at all buffers before it reads into the first', async () => {
  await using cache = await create()
  const file = await cache.open(fileOf(noise(100, 6)))
  const refused = expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' })
  const first = Buffer.alloc(4, '.')
  const buffers = [first, 'x' as unknown as Buffer]
  await expect(file.readv(buffers, 0)).rejects.toEqual(refused)
  expect(() => file.readvSync(buffers, 0)).toThrow(refused)
  expect(first.toString()).toBe('....')
  // What is done to the list meanwhile.
  const list = [Buffer.alloc(4), Buffer.alloc(4)]
  const read = file.readv(list, 0)
  list.push(Buffer.alloc(4))
  expect(await read).toBe(8)
  await file.close()
  const closed = expect.objectContaining({ code: 'EBADF', path: file.path })
  await expect(file.readv([], 0)).rejects.toEqual(closed)
  expect(() => file.readvSync([], 0)).toThrow(closed)
})

test('hits far out read nothing ahead, though the first page was missed a moment ago', async () => {
  await using cache = await create({ memory: '16MiB' })
  await using file = await cache.open(fileOf(noise(8 * MEBIBYTE, 12)))
  const buffer = Buffer.alloc(PAGE)
  const read = (page: number) => file.read(buffer, { position: page * PAGE })
  const out = Array.from({ length: 30 }, (_, i) => 700 + 40 * i)
  for (const page of out) await read(page)
  await read(0)
  const { bytesLoaded } = cache.stats()
  for (const page of out) {
    await read(page)
    await new Promise(setImmediate)
  }
  expect(cache.stats().bytesLoaded).toBe(bytesLoaded)
})

test('two that read in turns are read ahead for as one is', async () => {
  await using cache = await create({ memory: '16MiB' })
  for (const isCached of [false, true]) {
    await using file = await cache.open(fileOf(noise(4 * MEBIBYTE, 14)))
    if (isCached) await file.advise('willneed', 2 * MEBIBYTE)
    const { reads } = cache.stats()
    const buffer = Buffer.alloc(PAGE)
    for (let page = 0; page < 512; page++)
      for (const each of [page, 512 + page]) await file.read(buffer, { position: each * PAGE })
    // 1,024 pages.
    expect(cache.stats().reads - reads).toBeLessThan(100)
  }
})

test.each(['256KiB', '1MiB'])('a sequential reader of a cache of %s has each page read once', async (memory) => {
  await using cache = await create({ memory })
  await using file = await cache.open(fileOf(noise(4 * MEBIBYTE, 13)))
  const buffer = Buffer.alloc(PAGE)
  for (let page = 0; page < 1024; page++) file.readSync(buffer, { position: page * PAGE })
  expect(cache.stats().bytesLoaded / (4 * MEBIBYTE)).toBeLessThan(1.1)
})

test('a window of readahead is one read in a small cache, too', async () => {
  await using cache = await create({ memory: '1MiB' })
  await using file = await cache.open(fileOf(noise(4 * MEBIBYTE, 13)))
  const buffer = Buffer.alloc(16 * PAGE)
  for (let page = 0; page < 1024; page += 16) await file.read(buffer, { position: page * PAGE })
  expect(cache.stats().reads).toBe(1024 / 16)
})

test('advice: willneed of what does not fit ends where there is no more room, and takes none of what is in use', async () => {
  await using cache = await create({ memory: '1MiB' })
  await using hot = await cache.open(fileOf(noise(100 * PAGE, 8)))
  const buffer = Buffer.alloc(PAGE)
  for (let round = 0; round < 3; round++)
    for (let page = 0; page < 100; page++) await hot.read(buffer, { position: page * PAGE })
  const hits = (file: CachedFile, pages: number) =>
    Array.from({ length: pages }, (_, page) => file.tryRead(buffer, { position: page * PAGE })).filter((it) => it)
      .length
  // The second finds the cache full.
  for (const seed of [9, 10]) {
    await using large = await cache.open(fileOf(noise(4 * MEBIBYTE, seed)))
    const { bytesLoaded } = cache.stats()
    await large.advise('willneed')
    const loaded = (cache.stats().bytesLoaded - bytesLoaded) / PAGE
    expect(loaded).toBeGreaterThan(100)
    expect(loaded).toBeLessThan(256)
    expect(hits(large, 100)).toBe(100)
    expect(hits(hot, 100)).toBe(100)
    await large.advise('dontneed', 0, 50 * PAGE)
  }
  cache.checkInvariants()
})

test('advice: willneed makes hits, dontneed misses, and bytes are the same', async () => {
  await using cache = await create()
  const content = noise(MEBIBYTE, 7)
  await using file = await cache.open(fileOf(content))
  const buffer = Buffer.alloc(PAGE)
  expect(file.tryRead(buffer, { position: 10 * PAGE })).toBeUndefined()
  await file.advise('willneed', 10 * PAGE, 3 * PAGE)
  expect(file.tryRead(buffer, { position: 12 * PAGE })).toBe(PAGE)
  expect(buffer.equals(content.subarray(12 * PAGE, 13 * PAGE))).toBe(true)
  expect(file.tryRead(buffer, { position: 13 * PAGE })).toBeUndefined()
  await file.advise('dontneed', 11 * PAGE, PAGE)
  expect([10, 11, 12].map((page) => file.tryRead(buffer, { position: page * PAGE }))).toEqual([PAGE, undefined, PAGE])
  await file.advise('willneed')
  expect(file.tryRead(Buffer.alloc(MEBIBYTE), { position: 0 })).toBe(MEBIBYTE)
  await file.advise('random')
  await expect(file.advise('often' as 'random')).rejects.toThrow(TypeError)
})

test('advice: sequential opens the widest window at once, random and normal none far in', async () => {
  await using cache = await create({ memory: '32MiB' })
  const content = noise(16 * MEBIBYTE, 7)
  const name = fileOf(content)
  for (const [advice, pages] of [
    ['normal', 1],
    ['sequential', 256],
    ['random', 1],
  ] as const) {
    await using file = await cache.open(name)
    await file.advise('dontneed')
    await file.advise(advice)
    const { bytesLoaded } = cache.stats()
    const buffer = Buffer.alloc(PAGE)
    await file.read(buffer, { position: 1000 * PAGE })
    expect((cache.stats().bytesLoaded - bytesLoaded) / PAGE, advice).toBe(pages)
    expect(buffer.equals(content.subarray(1000 * PAGE, 1001 * PAGE))).toBe(true)
  }
})

test('two caches of one process on one file: what one writes the other shows at its next open, to all', async () => {
  await using first = await create()
  await using second = await create()
  const name = fileOf(Buffer.alloc(4 * PAGE, 'old.'))
  await using writer = await first.open(name, 'r+')
  await using reader = await second.open(name)
  const buffer = Buffer.alloc(4)
  const read = (position: number) => {
    reader.readSync(buffer, { position })
    return buffer.toString()
  }
  expect(read(PAGE)).toBe('old.')
  await writer.write(Buffer.from('new!'), { position: PAGE })
  await using again = await second.open(name)
  expect(read(PAGE)).toBe('new!')
  again.readSync(buffer, { position: PAGE })
  expect(buffer.toString()).toBe('new!')
  // Each has its own.
  await second.close()
  await writer.read(buffer, { position: PAGE })
  expect(buffer.toString()).toBe('new!')
  first.checkInvariants()
})

test('advice: dontneed of another thread is done when it resolves, and tells of its errors', async () => {
  await using cache = await create()
  // As another thread does it.
  await using remote = await PageCache.attach(cache.handle())
  const file = await remote.open(fileOf(noise(4 * PAGE, 7)))
  const buffer = Buffer.alloc(PAGE)
  for (let round = 0; round < 20; round++) {
    await file.read(buffer, { position: PAGE })
    expect(file.tryRead(buffer, { position: PAGE })).toBe(PAGE)
    await file.advise('dontneed', PAGE, PAGE)
    expect(file.tryRead(buffer, { position: PAGE })).toBeUndefined()
  }
  const forgetting = file.advise('dontneed')
  const told = expect(forgetting).rejects.toMatchObject({ code: 'ECONNRESET', path: file.path })
  await Promise.all([told, cache.close()])
  await file.close()
})

test('a file that has no size but bytes is refused, an empty one is not', async () => {
  await using cache = await create()
  const refused = expect.objectContaining({ code: 'EINVAL', path: '/proc/self/status' })
  await expect(cache.open('/proc/self/status')).rejects.toThrow(refused)
  expect(() => cache.openSync('/proc/self/status')).toThrow(refused)
  expect(cache.stats().filesOpen).toBe(0)
  await using empty = await cache.open(fileOf(new Uint8Array(0)))
  expect(await empty.read(Buffer.alloc(1), { position: 0 })).toBe(0)
})

test('handles are given to so many threads and no more', async () => {
  await using cache = await create({ threads: 3 })
  const handles = [cache.handle(), cache.handle()]
  expect(() => cache.handle()).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
  expect(cache.stats().threads).toBe(3)
  for (const { port } of handles) port.close()
})

test('pages of files that have been closed stay, of thousands of files', async () => {
  await using cache = await create({ memory: '16MiB', direct: false, share: false })
  const files = Array.from({ length: 1500 }, (_, i) => fileOf(Buffer.alloc(100, `file ${i}.`)))
  const buffer = Buffer.alloc(100)
  const readAll = () => {
    for (const path of files) {
      using file = cache.openSync(path)
      file.readSync(buffer, { position: 0 })
    }
    return cache.stats().bytesLoaded
  }
  // Of a file that was changed just now nothing is kept.
  const later = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 60_000)
  expect(readAll()).toBe(1500 * 100)
  expect(readAll()).toBe(1500 * 100)
  later.mockRestore()
})

test('files come and go by the thousand: the numbers of mappings go round, and hits are hits', async () => {
  await using cache = await create({ direct: false, share: false })
  const content = (i: number) => Buffer.alloc(100, `file ${i}.`)
  const files = Array.from({ length: 8300 }, (_, i) => fileOf(content(i)))
  const buffer = Buffer.alloc(100)
  // 16,384 numbers, of which at most 8,192 are remembered for files that are closed.
  for (let i = 0; i < 17_000; i++) {
    const n = i % files.length
    using file = cache.openSync(files[n]!)
    expect(file.readSync(buffer, { position: 0 })).toBe(100)
    if (!buffer.equals(content(n))) throw new Error(`file ${n} at ${i}`)
    if (i > 16_380) expect(file.tryRead(buffer, { position: 0 })).toBe(100)
  }
  cache.checkInvariants()
})
