import fs from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CacheStat } from '../../../src/linux/cachestat.ts'
import { ERRNO } from '../../../src/linux/errors.ts'
import { residentPages } from '../../../src/linux/mincore.ts'

const PAGE = 4096

/** tmpfs keeps a file's pages in the page cache and nowhere else: what was written is resident, holes are not. */
describe('residency of a sparse file on tmpfs', () => {
  const file = `/dev/shm/samepage-residency-${process.pid}`
  let fd: number
  const resident = [0, 1, 2, 100, 999]

  beforeAll(() => {
    fd = fs.openSync(file, 'w+')
    fs.ftruncateSync(fd, 1000 * PAGE)
    for (const page of resident) fs.writeSync(fd, 'x', page * PAGE)
  })
  afterAll(() => {
    fs.closeSync(fd)
    fs.unlinkSync(file)
  })

  it('mincore tells which pages', () => {
    const pages = new Uint8Array(1000).fill(0xff)
    expect(residentPages(fd, 0, 1000 * PAGE, pages)).toBe(5)
    expect([...pages.keys()].filter((page) => pages[page] === 1)).toEqual(resident)
    expect(pages.every((byte) => byte <= 1)).toBe(true)
  })

  it('mincore takes a range, and one that ends inside a page', () => {
    const pages = new Uint8Array(99)
    expect(residentPages(fd, 2 * PAGE, 98 * PAGE + 1, pages)).toBe(2)
    expect(pages[0]).toBe(1)
    expect(pages[98]).toBe(1)
  })

  it('counts nothing after the end of the file', () => {
    expect(residentPages(fd, 1000 * PAGE, 10 * PAGE, new Uint8Array(10))).toBe(0)
  })

  it('reports errors as numbers, a short vector as a mistake', () => {
    expect(residentPages(-1, 0, PAGE, new Uint8Array(1))).toBe(-ERRNO.EBADF)
    expect(residentPages(fd, 1, PAGE, new Uint8Array(1))).toBe(-ERRNO.EINVAL)
    expect(() => residentPages(fd, 0, 2 * PAGE, new Uint8Array(1))).toThrow(RangeError)
  })

  it('cachestat counts the same pages', ({ skip }) => {
    const stat = new CacheStat()
    const result = stat.read(fd)
    if (result === -ERRNO.ENOSYS) skip('cachestat came with Linux 6.5')
    expect(result).toBe(0)
    expect(stat.cached).toBe(5)
    expect(stat.read(fd, PAGE, 2 * PAGE)).toBe(0)
    expect(stat.cached).toBe(2)
    expect(stat.read(-1)).toBe(-ERRNO.EBADF)
  })
})
