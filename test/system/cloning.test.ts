/** cp(1) of a large image through the mount is a reflink below: at once, without memory, and the copy shares, dirty data included. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { cachedPages } from '../../src/linux/cachestat.ts'
import { isShareable } from '../../src/storage/extents.ts'
import { extentsOf, forgetCached, MEBIBYTE, noise, overwrite, readAt, run, withFd } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const SIZE = 10 * 2 ** 30
/** Where the image has data: every 256 MiB some. */
const STEP = 256 * MEBIBYTE
const PIECE = 4 * MEBIBYTE

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', kind], `a copy of an image of 10 GiB on ${kind}`, () => {
    const ways = ['cp', 'cp --reflink=auto']
    test.each(kind === 'xfs' ? ways : ways.slice(1))('%s: at once, no page more, shared', async (way) => {
      const [cp = '', ...flags] = way.split(' ')
      await using filesystem = await loopFilesystem(kind, { size: 3 * SIZE })
      await using mount = await mounted(filesystem.path)
      const at = (name: string) => `${filesystem.path}/${name}`
      // Half of it was written out long ago, half of it is dirty: written through the mount a moment ago.
      fs.writeFileSync(at('image'), '')
      // cp(1) of coreutils 9.1 reads and writes what has holes, where it cannot clone a file as a whole by ioctl.
      run('fallocate', '-l', String(SIZE), at('image'))
      for (let i = 0; i * STEP < SIZE; i += 2) overwrite(at('image'), i * STEP, noise(PIECE, i), false)
      run('sync', '-f', filesystem.path)
      forgetCached(at('image'))
      for (let i = 1; i * STEP < SIZE; i += 2) overwrite(`${mount.path}/image`, i * STEP, noise(PIECE, i), false)
      const before = cachedIn(at('image'))

      // What is dirty has to be written out first, and how long that takes is the device's affair.
      const pieces = Array.from({ length: SIZE / STEP / 2 }, (_, i) => noise(PIECE, i))
      fs.writeFileSync(at('yardstick'), '')
      const writing = timed(() => {
        for (const [i, piece] of pieces.entries()) overwrite(at('yardstick'), i * STEP, piece)
      })
      fs.rmSync(at('yardstick'))

      const seconds = timed(() => execFileSync(cp, [...flags, `${mount.path}/image`, `${mount.path}/copy`]))
      expect(cachedIn(at('image')) + cachedIn(at('copy'))).toBeLessThanOrEqual(before + 16)
      expect(seconds).toBeLessThan(1 + 3 * writing)

      expect(sharedBytes(at('copy'))).toBeGreaterThanOrEqual((SIZE / STEP) * PIECE)
      await settle()
      for (const name of ['image', 'copy'])
        for (let i = 0; i * STEP < SIZE; i++) {
          const expected = noise(PIECE, i)
          expect(readAt(`${mount.path}/${name}`, i * STEP, PIECE).equals(expected), `${name} at ${i}`).toBe(true)
        }
      // One copy in memory for both, though the image was found to share nothing while it was written.
      forgetCached(at('image'))
      for (const name of ['image', 'copy'])
        for (let i = 0; i * STEP < SIZE; i++) readAt(`${mount.path}/${name}`, i * STEP, PIECE)
      for (const name of ['image', 'copy']) expect(cachedIn(at(name)), name).toBeLessThanOrEqual(16)
      const { homes, files } = await mount.status()
      expect(homes.homes).toBe(1)
      expect(files.pristine).toBeGreaterThanOrEqual(2)
      // Of the data, not of what the files would have if they were not sparse.
      expect(homes.nativeBytes).toBe(files.pristine * homes.cachedBytes)

      // The copy of a copy that the daemon has just written. On XFS it has got holes where nothing was ever written.
      run('fallocate', '-l', String(SIZE), at('copy'))
      overwrite(`${mount.path}/copy`, 3 * STEP, noise(PIECE, 1000), false)
      run(cp, ...flags, `${mount.path}/copy`, `${mount.path}/second`)
      for (const place of [mount.path, filesystem.path])
        for (const [name, seed] of Object.entries({ image: 3, copy: 1000, second: 1000 }))
          expect(readAt(`${place}/${name}`, 3 * STEP, PIECE).equals(noise(PIECE, seed)), `${place}/${name}`).toBe(true)
      expect(sharedBytes(at('second'))).toBeGreaterThanOrEqual((SIZE / STEP) * PIECE)
    })
  })

/** Bytes of data that other files have too. */
function sharedBytes(file: string): number {
  return extentsOf(file)
    .toArray()
    .reduce((sum, { length, flags }) => sum + (isShareable(flags) ? length : 0), 0)
}

function cachedIn(file: string): number {
  return withFd(file, cachedPages)
}

function timed(work: () => void): number {
  const began = performance.now()
  work()
  return (performance.now() - began) / 1000
}
