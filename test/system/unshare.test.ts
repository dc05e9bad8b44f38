/**
 * Every way to change a page makes that page the file's own, and no other: a table, one row each. What a program sees is
 * compared with what it sees natively on a twin; what is in memory is counted.
 */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { cachedPages } from '../../src/linux/cachestat.ts'
import { clone, forgetCached, MEBIBYTE, noise, PAGE, withFd, writeSynced } from '../support/files.ts'
import { type LoopKind, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

const SIZE = 16 * MEBIBYTE
const AT = 5 * MEBIBYTE
const ROOT_USER = USERS[0]!

/** Pages of the file itself that may be in memory afterwards, where the change was of two pages in the middle. */
const WAYS: readonly { way: string; offset: number; length: number; ownPages: number }[] = [
  { way: 'write', offset: AT, length: 2 * PAGE, ownPages: 2 },
  { way: 'write', offset: AT + 100, length: 5000, ownPages: 2 },
  { way: 'append', offset: 0, length: 5000, ownPages: 2 },
  { way: 'write of what appends no more', offset: AT, length: 2 * PAGE, ownPages: 2 },
  { way: 'truncate', offset: SIZE - 5000, length: 0, ownPages: 2 },
  { way: 'punch', offset: AT, length: 2 * PAGE, ownPages: 2 },
  { way: 'zero', offset: AT + 10, length: 2 * PAGE, ownPages: 3 },
  { way: 'copy_file_range', offset: AT, length: 2 * PAGE, ownPages: 2 },
  { way: 'mmap', offset: AT + 4000, length: 200, ownPages: 2 },
  { way: 'mmap of what appends', offset: AT + 4000, length: 200, ownPages: 2 },
  { way: 'MADV_REMOVE', offset: AT, length: 2 * PAGE, ownPages: 2 },
  { way: 'open with O_TRUNC', offset: 0, length: 2 * PAGE, ownPages: 2 },
  { way: 'splice', offset: AT, length: 2 * PAGE, ownPages: 2 },
  { way: 'direct', offset: AT, length: 2 * PAGE, ownPages: 2 },
]

for (const kind of ['xfs', 'btrfs'] as const satisfies readonly LoopKind[]) {
  describeWith(['root', 'loop', kind, 'fuse', 'program:python3'], `changes of a clone on ${kind}`, () => {
    test.each(WAYS)('$way of $length bytes at $offset', async ({ way, offset, length, ownPages }) => {
      await using filesystem = await loopFilesystem(kind)
      const source = `${filesystem.path}/source`
      const twin = `${filesystem.path}/twin`
      for (const directory of [source, twin]) {
        fs.mkdirSync(directory)
        writeSynced(`${directory}/original`, noise(SIZE, 1))
        writeSynced(`${directory}/donor`, noise(SIZE, 2))
        for (const name of ['a', 'b', 'c']) clone(`${directory}/original`, `${directory}/${name}`)
      }
      await using mount = await mounted(source)
      // All of the family is known, and in memory once.
      for (const name of ['original', 'a', 'b', 'c']) fs.readFileSync(`${mount.path}/${name}`)
      for (const name of ['original', 'a', 'b', 'c']) forgetCached(`${source}/${name}`)

      const change = (at: string) =>
        runPython(ROOT_USER, 'change.py', way, `${at}/b`, String(offset), String(length), `${at}/donor`)
      const native = change(twin)
      expect(change(mount.path)).toBe(native)

      // The file itself has the bytes, and nobody else has them.
      expect(fs.readFileSync(`${source}/b`).equals(fs.readFileSync(`${twin}/b`))).toBe(true)
      for (const name of ['original', 'a', 'c', 'b']) {
        expect(fs.readFileSync(`${mount.path}/${name}`).equals(fs.readFileSync(`${twin}/${name}`)), name).toBe(true)
      }
      forgetCached(`${source}/b`)
      fs.readFileSync(`${mount.path}/b`)
      for (const name of ['original', 'a', 'c'])
        expect(withFd(`${source}/${name}`, cachedPages), `pages of ${name}`).toBe(0)
      // Those, and what lies in the same blocks of the extents that the file system made.
      expect(withFd(`${source}/b`, cachedPages)).toBeLessThanOrEqual(ownPages + 16)
    })
  })
}
