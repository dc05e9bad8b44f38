import fs from 'node:fs'
import { expect, test } from 'vitest'
import { ERRNO } from '../../../src/linux/errors.ts'
import { close, O_PATH, open } from '../../../src/linux/file.ts'
import { ExtentList } from '../../../src/storage/extents.ts'
import { readExtents, readExtentsAsync } from '../../../src/storage/read-extents.ts'

test('what has no extents to tell is an error, not an empty list', async () => {
  const file = `/dev/shm/samepage-extents-${process.pid}`
  fs.writeFileSync(file, 'content')
  const fds = [fs.openSync(file, 'r'), open(file, O_PATH), -1]
  const list = ExtentList.from([{ logical: 0, physical: 0, length: 1, flags: 0 }])
  const expected = [-ERRNO.EOPNOTSUPP, -ERRNO.EBADF, -ERRNO.EBADF]
  expect(fds.map((fd) => readExtents(fd, 0, 4096, list))).toEqual(expected)
  expect(list.count).toBe(0)
  for (const [i, fd] of fds.entries()) expect(await readExtentsAsync(fd, 0, 4096, list)).toBe(expected[i])
  for (const fd of fds) close(fd)
  fs.unlinkSync(file)
})

test('nothing is asked about an empty range', () => {
  expect(readExtents(-1, 4096, 0, new ExtentList())).toBe(0)
})
