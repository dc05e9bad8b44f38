/** Homes of the library give way where a file system is full: a write finds the space that only they hold. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { PageCache } from '../../src/index.ts'
import { clone, MEBIBYTE, noise, overwrite, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'
import { smallTmpfs } from '../support/small-tmpfs.ts'

const SIZE = 64 * MEBIBYTE

describeWith(['root', 'loop', 'xfs'], 'a full file system', () => {
  test('has the space that closed files’ homes held, and what is open stays right', async () => {
    await using xfs = await loopFilesystem('xfs', { size: 400 * MEBIBYTE })
    const original = `${xfs.path}/original`
    writeSynced(original, noise(SIZE, 1))
    clone(original, `${xfs.path}/clone`)
    writeSynced(`${xfs.path}/log`, noise(4096, 2))
    await settle()
    await using cache = await PageCache.create({ memory: '8MiB' })
    const first = Buffer.alloc(MEBIBYTE)
    {
      await using file = await cache.open(original)
      expect(await file.read(first, { position: 0 })).toBe(MEBIBYTE)
    }
    expect(cache.stats().homes).toBe(1)
    // From now on all that both held is the home's alone.
    fs.rmSync(`${xfs.path}/clone`)
    overwrite(original, 0, noise(SIZE, 3))
    await using log = await cache.open(`${xfs.path}/log`, 'r+')
    const { bavail, bsize } = fs.statfsSync(xfs.path)
    fillUp(`${xfs.path}/filler`, bavail * bsize)
    const bytes = noise(16 * MEBIBYTE, 4)
    await log.write(bytes, { position: 4096 })
    await log.sync()
    expect(cache.stats().homes).toBe(0)
    expect(fs.readFileSync(`${xfs.path}/log`).subarray(4096).equals(bytes)).toBe(true)
    // Nothing is left to give: then the error is the system's.
    fillUp(`${xfs.path}/filler 2`, SIZE)
    await expect(log.write(noise(MEBIBYTE, 5), { position: 64 * MEBIBYTE })).rejects.toMatchObject({ code: 'ENOSPC' })
    cache.checkInvariants()
  })
})

describeWith(['root', 'loop', 'xfs'], 'a device that takes no more', () => {
  test('is told of by sync to each who had the file open, once', async () => {
    await using small = await smallTmpfs(120 * MEBIBYTE)
    await using xfs = await small.inThere(() => loopFilesystem('xfs', { size: 300 * MEBIBYTE, mkfs: ['-K'] }))
    const path = `${xfs.path}/log`
    run('fallocate', '--length', `${32 * MEBIBYTE}`, path)
    fs.linkSync(path, `${path} 2`)
    await using cache = await PageCache.create({ memory: '8MiB' })
    await using writer = await cache.open(path, 'r+')
    await using other = await cache.open(`${path} 2`, 'r+')
    await using reader = await cache.open(path)
    for (const step of ['--freeze', '--unfreeze']) run('fsfreeze', step, xfs.path)
    small.fill()
    await writer.write(noise(4 * MEBIBYTE, 1), { position: 8 * MEBIBYTE })
    const both = await Promise.allSettled([other.datasync(), writer.sync()])
    expect(both).toMatchObject([
      { status: 'rejected', reason: { code: 'ENOSPC', syscall: 'fdatasync', path: `${path} 2` } },
      { status: 'rejected', reason: { code: 'ENOSPC', path } },
    ])
    expect(() => reader.syncSync()).toThrow('ENOSPC')
    await writer.sync()
    reader.syncSync()
    await using late = await cache.open(path, 'r+')
    await late.sync()
  })
})

/** Writes up to `bytes`, as far as there is room. */
function fillUp(path: string, bytes: number): void {
  const fd = fs.openSync(path, 'w')
  try {
    for (let done = 0; done < bytes; ) done += fs.writeSync(fd, noise(MEBIBYTE, 9))
    for (;;) fs.writeSync(fd, noise(4096, 9))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  } finally {
    fs.fsyncSync(fd)
    fs.closeSync(fd)
  }
}
