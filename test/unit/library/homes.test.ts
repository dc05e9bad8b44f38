/** The library's homes where something goes wrong of which nobody is told: what they hold open, and that they end nobody's program. */
import fs from 'node:fs'
import { expect, test, vi } from 'vitest'
import { Families } from '../../../src/homes/families.ts'
import { Homes } from '../../../src/library/homes.ts'
import { noise, PAGE } from '../../support/files.ts'
import { scratchFiles } from '../../support/scratch-files.ts'

const told = vi.hoisted(() => ({ after: Number.POSITIVE_INFINITY, times: 0 }))
vi.mock('../../../src/storage/filesystem.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../../src/storage/filesystem.ts')>()
  const identifyFilesystem = (fd: number) => {
    told.times++
    if (told.after-- <= 0) throw new Error('/proc is hidden')
    return original.identifyFilesystem(fd)
  }
  return { ...original, identifyFilesystem }
})

const fileOf = scratchFiles()

test.each([0, 1, 2])('no descriptor is left open where the file system is not told after %i times', async (times) => {
  const homes = new Homes(undefined, { onRetired() {}, onForget() {} })
  const path = fileOf(noise(PAGE, 1))
  const { dev, ino } = fs.statSync(path, { bigint: true })
  const descriptors = () => fs.readdirSync('/proc/self/fd').length
  const before = descriptors()
  for (let i = 0; i < 10; i++) {
    told.after = times
    await homes.serve({ path, dev, ino, domain: 0 }).catch(() => {})
  }
  expect(descriptors()).toBe(before)
  await homes.close()
})

test('a file system is identified once for opens, by their directory', async () => {
  told.after = Number.POSITIVE_INFINITY
  const homes = new Homes(undefined, { onRetired() {}, onForget() {} })
  const serve = async () => {
    const path = fileOf(noise(PAGE, 1))
    const { dev, ino } = fs.statSync(path, { bigint: true })
    told.times = 0
    // Two at once: the second finds the directory that the first has opened.
    await Promise.all([0, 1].map(() => homes.serve({ path, dev, ino, domain: 0 })))
    return told.times
  }
  // Small files are not looked at any further.
  expect([await serve(), await serve()]).toEqual([1, 1])
  await homes.close()
})

test('a sweep that fails is a warning, and the next one is not', async () => {
  vi.useFakeTimers()
  const warn = vi.spyOn(process, 'emitWarning').mockReturnValue(undefined)
  const sweep = vi.spyOn(Families.prototype, 'sweep').mockRejectedValueOnce(new RangeError('out of bounds'))
  const homes = new Homes(undefined, { onRetired() {}, onForget() {} })
  try {
    await vi.advanceTimersByTimeAsync(25_000)
    expect(sweep).toHaveBeenCalledTimes(2)
    expect(warn.mock.calls).toEqual([['sweeping homes failed: RangeError: out of bounds', 'SamepageWarning']])
  } finally {
    vi.useRealTimers()
    vi.restoreAllMocks()
    await homes.close()
  }
})
