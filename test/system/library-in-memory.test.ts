/** Files that lie in main memory: with `dax: 'direct'` the library makes no second copy of them. */
import fs from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { PageCache } from '../../src/index.ts'
import { MEBIBYTE, noise, PAGE, run } from '../support/files.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const SIZE = 4 * MEBIBYTE
const HUGE_PAGES = '/proc/sys/vm/nr_hugepages'

let directory: string
beforeEach(() => {
  directory = fs.mkdtempSync('/dev/shm/samepage-memory-')
})
afterEach(() => fs.rmSync(directory, { recursive: true }))

async function expectNoCopies(path: string, bytes: Buffer): Promise<void> {
  await using cache = await PageCache.create({ memory: '16MiB', dax: 'direct' })
  await using file = await cache.open(path)
  const buffer = Buffer.alloc(SIZE)
  for (let round = 0; round < 2; round++) {
    expect(file.readSync(buffer, { position: 0 })).toBe(SIZE)
    expect(buffer.equals(bytes)).toBe(true)
    buffer.fill(0)
    expect(await file.read(buffer, { position: 0 })).toBe(SIZE)
    expect(buffer.equals(bytes)).toBe(true)
    using view = file.viewSync(3 * PAGE, 2 * PAGE)
    expect(Buffer.compare(view.bytes, bytes.subarray(3 * PAGE, 5 * PAGE))).toBe(0)
  }
  expect(cache.stats()).toMatchObject({ bytesLoaded: 0, pageBytes: 0 })
}

test('of tmpfs nothing is copied in mode direct, also while it is cut short; in mode auto it is cached', async () => {
  const path = `${directory}/file`
  const bytes = noise(SIZE, 1)
  fs.writeFileSync(path, bytes)
  await settle()
  await expectNoCopies(path, bytes)
  await using direct = await PageCache.create({ memory: '16MiB', dax: 'direct' })
  await using cached = await PageCache.create({ memory: '16MiB' })
  await using file = await direct.open(path, 'r+')
  await using copy = await cached.open(path)
  const buffer = Buffer.alloc(SIZE)
  expect(copy.readSync(buffer, { position: 0 })).toBe(SIZE)
  expect(cached.stats().bytesLoaded).toBe(SIZE)
  file.writeSync(noise(PAGE, 2), { position: 7 * PAGE })
  expect(file.readSync(buffer, { position: 0 })).toBe(SIZE)
  expect(buffer.subarray(7 * PAGE, 8 * PAGE).equals(noise(PAGE, 2))).toBe(true)
  fs.truncateSync(path, 5 * PAGE)
  expect(file.readSync(buffer, { position: 0 })).toBe(5 * PAGE)
  expect(buffer.subarray(0, 5 * PAGE).equals(bytes.subarray(0, 5 * PAGE))).toBe(true)
})

describeWith(['root', 'program:python3'], 'of hugetlbfs', () => {
  test('nothing is copied in mode direct', async () => {
    const before = fs.readFileSync(HUGE_PAGES, 'latin1').trim()
    const mountpoint = `${directory}/huge`
    fs.mkdirSync(mountpoint)
    try {
      fs.writeFileSync(HUGE_PAGES, String(Number(before) + 2))
      run('mount', '-t', 'hugetlbfs', '-o', 'pagesize=2M', 'none', mountpoint)
      const bytes = noise(SIZE, 3)
      fs.writeFileSync(`${directory}/bytes`, bytes)
      const program = `
import mmap
with open("${mountpoint}/file", "w+b") as f:
    f.truncate(${SIZE})
    with mmap.mmap(f.fileno(), ${SIZE}) as m:
        m[:] = open("${directory}/bytes", "rb").read()`
      run('python3', '-c', program)
      await settle()
      await expectNoCopies(`${mountpoint}/file`, bytes)
    } finally {
      run('umount', mountpoint)
      fs.writeFileSync(HUGE_PAGES, before)
    }
  })
})
