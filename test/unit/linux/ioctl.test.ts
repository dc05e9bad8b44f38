import { expect, test } from 'vitest'
import { ERRNO } from '../../../src/linux/errors.ts'
import { ioctl, ioctlInteger, ioctlRequest } from '../../../src/linux/ioctl.ts'

test('requests are numbered as the kernel does', () => {
  expect(ioctlRequest('readWrite', 'f', 11, 32)).toBe(0xc020660b) // FS_IOC_FIEMAP
  expect(ioctlRequest('write', 0x94, 9, 4)).toBe(0x40049409) // FICLONE
  expect(ioctlRequest('read', 'f', 1, 8)).toBe(0x80086601) // FS_IOC_GETFLAGS
  expect(ioctlRequest('read', 'X', 31, 28)).toBe(0x801c581f) // FS_IOC_FSGETXATTR
  expect(ioctlRequest('none', 'T', 1, 0)).toBe(0x5401)
})

test('errors come as negative numbers', () => {
  expect(ioctl(-1, ioctlRequest('readWrite', 'f', 11, 32), new Uint32Array(64))).toBe(-ERRNO.EBADF)
  expect(ioctlInteger(-1, ioctlRequest('write', 0x94, 9, 4), 0)).toBe(-ERRNO.EBADF)
})
