/**
 * Files that were open a moment ago are kept at hand by the daemon. Nobody may notice but by the time that an open takes: what was changed, deleted or
 * replaced meanwhile is found as it is now, and what is kept is few, and given back.
 */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { freeBytes, MEBIBYTE, noise, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

/** Regular files of the source that the daemon has open, by path. */
async function heldBy(mount: Mounted): Promise<string[]> {
  const { pid } = await mount.status()
  const { dev } = fs.statSync(mount.source)
  const held: string[] = []
  for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
    try {
      const link = `/proc/${pid}/fd/${fd}`
      const stat = fs.statSync(link)
      if (stat.isFile() && stat.dev === dev) held.push(fs.readlinkSync(link))
    } catch {
      // Closed meanwhile.
    }
  }
  return held
}

const openAndClose = (path: string) => fs.closeSync(fs.openSync(path, 'r'))

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(['root', 'loop', kind, 'fuse'], `a file that was open a moment ago, on ${kind}`, () => {
    test.each([true, undefined])('is opened as it is now (read-only mount: %s)', async (readOnly) => {
      await using filesystem = await loopFilesystem(kind)
      const below = `${filesystem.path}/file`
      fs.writeFileSync(below, 'first')
      await using mount = await mounted(filesystem.path, { flags: readOnly ? { readOnly } : {} })
      const path = `${mount.path}/file`
      const sees = (content: string) => {
        openAndClose(path)
        const fd = fs.openSync(path, 'r')
        expect(fs.fstatSync(fd).size).toBe(content.length)
        expect(fs.readFileSync(fd, 'utf8')).toBe(content)
        fs.closeSync(fd)
      }
      openAndClose(path)
      sees('first')
      fs.appendFileSync(below, ' and more')
      sees('first and more')
      fs.truncateSync(below, 3)
      sees('fir')
      fs.writeFileSync(`${below}.new`, 'another')
      fs.renameSync(`${below}.new`, below)
      sees('another')
      fs.rmSync(below)
      expect(() => openAndClose(path)).toThrow('ENOENT')
      fs.writeFileSync(below, 'come again')
      await eventually(() => sees('come again'))
    })

    test('grows into one that shares, and is served as such', async () => {
      await using filesystem = await loopFilesystem(kind)
      const content = noise(4 * MEBIBYTE, 1)
      writeSynced(`${filesystem.path}/original`, content)
      fs.writeFileSync(`${filesystem.path}/file`, 'small')
      await using mount = await mounted(filesystem.path)
      const path = `${mount.path}/file`
      openAndClose(path)
      fs.copyFileSync(`${filesystem.path}/original`, `${filesystem.path}/file`, fs.constants.COPYFILE_FICLONE_FORCE)
      expect(fs.readFileSync(path).equals(content)).toBe(true)
      openAndClose(path)
      // Its own backing id, and the home's: given back in whatever order.
      for (let i = 0; i < 20; i++) {
        fs.appendFileSync(`${filesystem.path}/file`, `${i}`)
        const all = fs.readFileSync(path)
        expect(all.subarray(0, content.length).equals(content)).toBe(true)
        expect(all.length).toBe(fs.statSync(`${filesystem.path}/file`).size)
        openAndClose(path)
      }
    })

    test('can be written', async () => {
      await using filesystem = await loopFilesystem(kind)
      const below = `${filesystem.path}/file`
      fs.writeFileSync(below, 'first')
      await using mount = await mounted(filesystem.path)
      const path = `${mount.path}/file`
      for (const content of ['second', 'the third', 'no 4']) {
        openAndClose(path)
        const reader = fs.openSync(path, 'r')
        fs.writeFileSync(path, content)
        expect([fs.readFileSync(reader, 'utf8'), fs.readFileSync(below, 'utf8')]).toEqual([content, content])
        fs.closeSync(reader)
        expect(fs.readFileSync(path, 'utf8')).toBe(content)
      }
    })

    test('gives its space back when it is deleted, through the mount or below it', async () => {
      await using filesystem = await loopFilesystem(kind)
      const names = ['unlinked', 'replaced', 'below']
      const before = freeBytes(filesystem.path)
      for (const name of names) writeSynced(`${filesystem.path}/${name}`, noise(32 * MEBIBYTE, name.length))
      await using mount = await mounted(filesystem.path, { flags: { homes: false } })
      await eventually(async () => {
        for (const name of names) openAndClose(`${mount.path}/${name}`)
        expect((await heldBy(mount)).length).toBe(names.length)
      })
      fs.rmSync(`${mount.path}/unlinked`)
      fs.writeFileSync(`${mount.path}/new`, '')
      fs.renameSync(`${mount.path}/new`, `${mount.path}/replaced`)
      fs.rmSync(`${filesystem.path}/below`)
      await eventually(async () => {
        expect(await heldBy(mount)).toEqual([])
        expect(freeBytes(filesystem.path)).toBeGreaterThan(before - 2 * MEBIBYTE)
      }, 30_000)
    })

    test('costs a descriptor for a while, and never many', async () => {
      await using filesystem = await loopFilesystem(kind)
      for (let i = 0; i < 3000; i++) fs.writeFileSync(`${filesystem.path}/file${i}`, `${i}`)
      for (const [wrapper, most] of [
        [[], 1021],
        [['prlimit', '--nofile=1024:1024'], 64],
      ] as const) {
        await using mount = await mounted(filesystem.path, { wrapper: [...wrapper] })
        await eventually(async () => {
          for (let i = 0; i < 3000; i++) openAndClose(`${mount.path}/file${i}`)
          const held = (await heldBy(mount)).length
          expect(held).toBeGreaterThan(0)
          expect(held).toBeLessThanOrEqual(most)
        })
        await eventually(async () => expect(await heldBy(mount)).toEqual([]))
      }
    })
  })
}
