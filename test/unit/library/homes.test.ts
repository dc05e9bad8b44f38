/** What homes of the library hold open, where the system does not tell what they ask. */
import fs from 'node:fs'
import { expect, test, vi } from 'vitest'
import { Homes } from '../../../src/library/homes.ts'
import { noise, PAGE } from '../../support/files.ts'
import { scratchFiles } from '../../support/scratch-files.ts'

const told = vi.hoisted(() => ({ after: Number.POSITIVE_INFINITY }))
vi.mock('../../../src/storage/filesystem.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../../src/storage/filesystem.ts')>()
  const identifyFilesystem = (fd: number) => {
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
