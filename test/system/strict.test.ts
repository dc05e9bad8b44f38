/** `--consistency strict`: who has a file open sees what others write through the mount at once, whatever has happened to the file between his open and theirs. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { digest } from '../support/seen.ts'
import { settle } from '../support/settled.ts'

const SIZE = 9 * MEBIBYTE
const [BELOW, WRITTEN, COPIED] = [10 * PAGE, 20 * PAGE, 30 * PAGE]

describeWith(['root', 'loop', 'xfs', 'btrfs', 'fuse', 'program:python3'], 'strict consistency', () => {
  for (const kind of ['xfs', 'btrfs'] as const)
    test.each([
      ['nothing', () => {}],
      ['its mode', (_: string, above: string) => fs.chmodSync(above, 0o640)],
      ['an attribute, below', (below: string) => fs.utimesSync(below, 1, 2)],
      ['a page, below', (below: string) => overwrite(below, BELOW, Buffer.alloc(PAGE, 'b'))],
    ] as const)(`${kind}: between the reader's open and the writer's there changed %s`, async (_, change) => {
      await using source = await loopFilesystem(kind)
      const content = noise(SIZE, 1)
      writeSynced(`${source.path}/original`, content)
      clone(`${source.path}/original`, `${source.path}/file`)
      await settle()
      await using mount = await mounted(source.path, { args: ['--consistency', 'strict'] })
      const [below, above] = [`${source.path}/file`, `${mount.path}/file`]
      await using reader = startClient()
      await reader.run('f = os.open(path, os.O_RDONLY); m = mmap.mmap(f, 0, prot=mmap.PROT_READ)', { path: above })
      expect(await reader.value('digest(whole(f)) == digest(m)')).toBe(true)
      expect((await mount.status()).files).toMatchObject({ mapped: 1 })
      change(below, above)

      await using writer = startClient()
      await writer.run('f = os.open(path, os.O_RDWR)', { path: above })
      await writer.run(`os.pwrite(f, b"w" * ${PAGE}, ${WRITTEN})`)
      await writer.run(`os.copy_file_range(f, f, ${PAGE}, ${WRITTEN}, ${COPIED})`)
      // One file for both, most of it still where the clone has it.
      expect((await mount.status()).files).toMatchObject({ open: 1, mapped: 1 })
      const now = fs.readFileSync(below)
      expect(now.equals(content)).toBe(false)
      for (const all of ['whole(f)', 'm']) expect(await reader.value(`digest(${all})`), all).toBe(digest(now))
      await writer.run(`os.ftruncate(f, ${BELOW})`)
      expect(await reader.value('len(whole(f))')).toBe(BELOW)
      expect(fs.readFileSync(`${mount.path}/original`).equals(content)).toBe(true)
    })
})
