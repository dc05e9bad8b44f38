import fs from 'node:fs'
import { expect, test } from 'vitest'
import { LinuxHomeStorage } from '../../../src/homes/linux-home-storage.ts'

/** No process has so many descriptors. */
const NO_FD = 987_654

test('a home that cannot be closed keeps no other from being closed', async () => {
  const storage = new LinuxHomeStorage()
  const homeOf = (fd: number) => ({ fd, isWriteProtected: false })
  const fds = Array.from({ length: 9 }, () => fs.openSync('/dev/null', 'r'))
  const [failed, ...closed] = await Promise.allSettled([NO_FD, ...fds].map((fd) => storage.dropHome(homeOf(fd))))
  expect(failed).toMatchObject({ status: 'rejected', reason: { code: 'EBADF' } })
  expect(closed.map(({ status }) => status)).toEqual(fds.map(() => 'fulfilled'))
})
