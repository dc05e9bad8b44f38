/**
 * A file that lies in homes, is held open for writing through the mount, and is changed in the source by somebody else: who opens it next sees
 * the change, whatever the mount has written meanwhile.
 */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const SIZE = 16 * MEBIBYTE

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(
    ['root', 'loop', kind, 'fuse', 'program:python3'],
    `changes below a file that is being written, on ${kind}`,
    () => {
      test('show at the next open; what is not changed stays shared', async () => {
        await using filesystem = await loopFilesystem(kind)
        const below = `${filesystem.path}/clone`
        writeSynced(`${filesystem.path}/original`, noise(SIZE, 1))
        clone(`${filesystem.path}/original`, below)
        await using mount = await mounted(filesystem.path)
        const path = `${mount.path}/clone`
        const equal = () => expect(fs.readFileSync(path).equals(fs.readFileSync(below))).toBe(true)
        await using writer = startClient()
        await writer.run('f = os.open(path, os.O_RDWR)', { path })
        equal()

        const changes: [string, () => unknown][] = [
          ['a page', () => overwrite(below, 5 * MEBIBYTE, noise(PAGE, 2))],
          ['a page that is not on the disk yet', () => overwrite(below, 6 * MEBIBYTE, noise(PAGE, 3), false)],
          ['a part of a page', () => overwrite(below, 7 * MEBIBYTE + 100, noise(200, 4))],
          ['the end', () => fs.appendFileSync(below, noise(3 * PAGE + 5, 5))],
          ['less of it', () => fs.truncateSync(below, 9 * MEBIBYTE + 77)],
          ['more of it', () => fs.truncateSync(below, 12 * MEBIBYTE)],
          ['another of the same name and number', () => overwrite(below, 0, noise(MEBIBYTE, 6))],
        ]
        for (const [what, change] of changes) {
          await writer.run('os.pwrite(f, b"ours", 3 << 20)')
          change()
          await writer.run('os.pwrite(f, b"ours too", (3 << 20) + 100)')
          expect(fs.readFileSync(path).equals(fs.readFileSync(below)), what).toBe(true)
        }
        // Nobody else changes it: no look is due, and most is read from the home.
        const { bytesRead } = await mount.status()
        await writer.run('os.pwrite(f, b"ours again", 3 << 20)')
        equal()
        const after = (await mount.status()).bytesRead
        expect(after.fromHomes - bytesRead.fromHomes).toBeGreaterThan(7 * MEBIBYTE)
      })
    },
  )
}
