import fs from 'node:fs'
import { afterEach, expect, test, vi } from 'vitest'
import { ERRNO } from '../../../src/linux/errors.ts'
import { cloneFuseDevice } from '../../../src/linux/fuse-device.ts'

const opens = vi.hoisted(() => ({ result: undefined as number | undefined }))
vi.mock('../../../src/linux/file.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../../src/linux/file.ts')>()
  const openat: typeof original.openat = (...args) => opens.result ?? original.openat(...args)
  return { ...original, openat }
})
afterEach(() => {
  opens.result = undefined
})

test('what is no connection cannot be cloned, and no descriptor is left', () => {
  const descriptors = () => fs.readdirSync('/proc/self/fd').length
  const fd = fs.openSync('/dev/null', 'r')
  const before = descriptors()
  for (let i = 0; i < 10; i++) expect(cloneFuseDevice(fd)).toBeLessThan(0)
  expect(descriptors()).toBe(before)
  fs.closeSync(fd)
})

test('where no descriptor is to be had, the error is returned', () => {
  opens.result = -ERRNO.EMFILE
  expect(cloneFuseDevice(0)).toBe(-ERRNO.EMFILE)
})
