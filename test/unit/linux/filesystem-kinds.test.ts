import { expect, test } from 'vitest'
import { close, O_PATH, open } from '../../../src/linux/file.ts'
import { kindOf, livesInMemory, movesCtime } from '../../../src/linux/filesystem-kinds.ts'

test.each([
  ['/dev/shm', 'tmpfs', true],
  ['/proc', 'proc', false],
] as const)('%s is %s', (directory, kind, inMemory) => {
  const fd = open(directory, O_PATH)
  expect(kindOf(fd)).toBe(kind)
  close(fd)
  expect(livesInMemory(kind)).toBe(inMemory)
  expect(movesCtime(kind)).toBe(false)
})

test('what changes is stamped on file systems that are known for it', () => {
  const kinds = ['xfs', 'btrfs', 'ext4', 'ext3', 'nfs', 'fuse', 'overlay']
  expect(kinds.map(movesCtime)).toEqual([true, true, true, true, false, false, false])
})

test('what is not open is an error', () => {
  expect(() => kindOf(-1)).toThrow('EBADF')
})
