import fs from 'node:fs'
import { expect, test } from 'vitest'
import { RunMap } from '../../../src/cache/run-map.ts'
import { seekMapped } from '../../../src/daemon/seeking.ts'
import { pwrite } from '../../../src/linux/change.ts'
import { ERRNO } from '../../../src/linux/errors.ts'
import { SEEK_DATA, SEEK_HOLE } from '../../../src/linux/file.ts'

const PAGE = 4096
const BYTES = Buffer.from('data')

/** A file of tmpfs, which may be as long as any, with data at `offset` only. */
function withFile(offset: bigint, use: (fd: number) => void): void {
  const directory = fs.mkdtempSync('/dev/shm/samepage-seeking-')
  const fd = fs.openSync(`${directory}/file`, 'w+')
  try {
    expect(pwrite(fd, BYTES, BYTES.length, offset)).toBe(BYTES.length)
    use(fd)
  } finally {
    fs.closeSync(fd)
    fs.rmSync(directory, { recursive: true })
  }
}

test('of a mapped file finds what lies at and behind 2^53 in the file itself, exactly', () => {
  const at = 2n ** 60n + 4098n
  const data = 2n ** 60n + 4096n
  const size = at + 4n
  withFile(at, (homeFd) => {
    withFile(at, (ownFd) => {
      const runs = RunMap.build([{ filePage: 0, pageCount: 16, home: 0, homePage: 0 }], Number(size))
      const sources = { runs, own: undefined, ownFd, homeFd: () => homeFd }
      const seek = (offset: number | bigint, whence: number) => seekMapped(sources, Number(size), offset, whence)
      expect(seek(3 * PAGE, SEEK_DATA)).toBe(data)
      expect(seek(2 ** 53 - 1, SEEK_DATA)).toBe(data)
      expect(seek(at + 1n, SEEK_DATA)).toBe(at + 1n)
      expect(seek(at + 1n, SEEK_HOLE)).toBe(size)
      expect(seek(3 * PAGE, SEEK_HOLE)).toBe(3 * PAGE)
      expect(seek(size, SEEK_DATA)).toBe(-ERRNO.ENXIO)
      expect(seek(size, SEEK_HOLE)).toBe(-ERRNO.ENXIO)
    })
  })
})

test('of a mapped file finds nothing before its beginning, whatever it is read from there', () => {
  withFile(0n, (homeFd) => {
    withFile(0n, (ownFd) => {
      const runs = RunMap.build([{ filePage: 1, pageCount: 15, home: 0, homePage: 1 }], 16 * PAGE)
      for (const start of [-1, -600, -PAGE, -(2 ** 53), -(2n ** 53n) - 1n, -(2n ** 63n)])
        for (const whence of [SEEK_DATA, SEEK_HOLE])
          expect(
            seekMapped({ runs, own: undefined, ownFd, homeFd: () => homeFd }, 16 * PAGE, start, whence),
            `${start}`,
          ).toBe(-ERRNO.ENXIO)
    })
  })
})

test('of a mapped file finds a hole where what a piece is read from has ended, whatever comes after it', () => {
  withFile(0n, (homeFd) => {
    withFile(BigInt(20 * PAGE), (ownFd) => {
      const size = 20 * PAGE + BYTES.length
      const runs = RunMap.build([{ filePage: 0, pageCount: 16, home: 0, homePage: 0 }], size)
      const sources = { runs, own: undefined, ownFd, homeFd: () => homeFd }
      expect(seekMapped(sources, size, 0, SEEK_HOLE)).toBe(BYTES.length)
      expect(seekMapped(sources, size, 8 * PAGE, SEEK_HOLE)).toBe(8 * PAGE)
      expect(seekMapped(sources, size, 8 * PAGE, SEEK_DATA)).toBe(20 * PAGE)
    })
  })
})
