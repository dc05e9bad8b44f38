/** Directories through the mount: whole, without repetition, at any position, while they change below. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

for (const kind of ['xfs', 'btrfs', 'ext4'] as const) {
  describeWith(['root', 'loop', 'fuse', 'program:python3', kind], `directories of ${kind}`, () => {
    test('100,000 entries are complete, positions hold, also while entries come and go below', async () => {
      await using filesystem = await loopFilesystem(kind, {
        size: 512 * 2 ** 20,
        mkfs: kind === 'ext4' ? ['-N', '300000'] : [],
      })
      const [source, natively] = [`${filesystem.path}/source`, `${filesystem.path}/native`]
      fs.mkdirSync(source)
      fs.mkdirSync(natively)
      // The program is right about the file system itself.
      expect(runPython(USERS[0]!, 'directories.py', natively, natively, '3000', 'rewind')).toBe('ok\n')
      {
        await using mount = await mounted(source)
        expect(runPython(USERS[0]!, 'directories.py', mount.path, source, '100000', 'reopen')).toBe('ok\n')
      }
      await using watched = await mounted(source, { flags: { watch: true } })
      expect(runPython(USERS[0]!, 'directories.py', watched.path, source, '20000', 'rewind')).toBe('ok\n')
    })
  })
}
