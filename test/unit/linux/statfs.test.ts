import fs from 'node:fs'
import { expect, test } from 'vitest'
import { ERRNO } from '../../../src/linux/errors.ts'
import { close, O_PATH, open } from '../../../src/linux/file.ts'
import { Statfs } from '../../../src/linux/statfs.ts'

const TMPFS_MAGIC = 0x01021994

test('statfs agrees with Node.js, on an O_PATH descriptor too', () => {
  const fd = open('/dev/shm', O_PATH)
  const own = new Statfs()
  expect(own.ofFd(fd)).toBe(0)
  const theirs = fs.statfsSync('/dev/shm')
  expect(own.type).toBe(TMPFS_MAGIC)
  expect(own.type).toBe(theirs.type)
  expect(own.blocks).toBe(theirs.blocks)
  expect(own.files).toBe(theirs.files)
  expect(own.bsize).toBe(theirs.bsize)
  expect(own.frsize).toBe(4096)
  expect(own.namelen).toBe(255)
  expect(own.ofFd(-1)).toBe(-ERRNO.EBADF)
  close(fd)
})
