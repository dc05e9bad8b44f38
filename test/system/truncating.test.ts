/**
 * Opening with O_TRUNC, and truncate(2), do what they do natively, however the file is served and whoever has it open; and what is refused cuts
 * nothing. (FUSE_ATOMIC_O_TRUNC would: see docs/ARCHITECTURE.md, what does not hold.)
 */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

/** Files named as truncate.py reads it: how it is served, how it is opened with O_TRUNC, and how somebody has it open already. */
function makeFiles(directory: string): void {
  fs.mkdirSync(directory)
  writeSynced(`${directory}-small`, noise(MEBIBYTE, 1))
  writeSynced(`${directory}-large`, noise(16 * MEBIBYTE, 2))
  for (const kind of ['private', 'pristine', 'diverged', 'large'])
    for (const access of ['read', 'write', 'both'])
      for (const other of ['nobody', 'read', 'both']) {
        const path = `${directory}/${kind}-${access}-${other}`
        if (kind === 'private') writeSynced(path, noise(MEBIBYTE, 3))
        else clone(`${directory}-${kind === 'large' ? 'large' : 'small'}`, path)
        if (kind === 'diverged') overwrite(path, 5 * PAGE, noise(PAGE, 4))
      }
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'truncating', () => {
  test.each([
    ['with passthrough', {}],
    ['through the daemon', { passthrough: false as const }],
  ])('%s', async (_, flags) => {
    await using xfs = await loopFilesystem('xfs')
    for (const place of ['source', 'twin']) {
      fs.mkdirSync(`${xfs.path}/${place}`)
      makeFiles(`${xfs.path}/${place}/files`)
    }
    await using mount = await mounted(`${xfs.path}/source`, { flags })
    for (const name of fs.readdirSync(`${mount.path}/files`)) fs.readFileSync(`${mount.path}/files/${name}`)
    const cut = (root: string) => runPython(USERS[0]!, 'truncate.py', `${root}/files`).split('\n')
    const natively = cut(`${xfs.path}/twin`)
    expect(natively.length).toBeGreaterThan(4 * 3 * 3 + 10)
    expect(cut(mount.path)).toEqual(natively)
  })

  test('by name, of a file that nobody has open, does not make it what it was before others changed it', async () => {
    await using xfs = await loopFilesystem('xfs')
    const below = `${xfs.path}/clone`
    writeSynced(`${xfs.path}/original`, noise(16 * MEBIBYTE, 1))
    clone(`${xfs.path}/original`, below)
    overwrite(below, 5 * PAGE, noise(PAGE, 2))
    await settle()
    await using mount = await mounted(xfs.path)
    const path = `${mount.path}/clone`
    const expectSame = () => expect(fs.readFileSync(path).equals(fs.readFileSync(below))).toBe(true)
    expectSame()
    overwrite(below, 9 * PAGE, noise(PAGE, 3))
    // fs.truncate opens it.
    await using cutter = startClient()
    await cutter.run('os.truncate(path, 12 << 20)', { path })
    expectSame()
  })

  test('while others open it leaves nothing of what was cut off', async () => {
    await using xfs = await loopFilesystem('xfs')
    const original = `${xfs.path}/original`
    writeSynced(original, noise(32 * MEBIBYTE, 1))
    // Many extents: to decide takes a while.
    for (let page = 0; page < 8192; page += 8) overwrite(original, page * PAGE, noise(PAGE, page), false)
    clone(original, `${xfs.path}/other`)
    run('sync', '--file-system', xfs.path)
    await settle()
    await using mount = await mounted(xfs.path)
    // The home is to be of another file: what is all of one is passed through to it, and is shown as it was opened.
    fs.readFileSync(`${mount.path}/original`)
    await using opener = startClient()
    await using cutter = startClient()
    for (let round = 0; round < 20; round++) {
      // Another one each time: who has opened one before may see it as it was then.
      const below = `${xfs.path}/clone${round}`
      const path = `${mount.path}/clone${round}`
      clone(original, below)
      overwrite(below, 0, noise(PAGE, round))
      await settle()
      const end = (round + 1) * MEBIBYTE
      const opened = opener.run('f = os.open(path, os.O_RDONLY)', { path })
      await sleep(round)
      await cutter.run('os.truncate(path, end)', { path, end })
      await opened
      expect(await opener.value('os.fstat(f).st_size')).toBe(end)
      expect(await opener.value('len(os.pread(f, 4096, end + (1 << 20)))', { end }), `round ${round}`).toBe(0)
      expect(fs.readFileSync(path).equals(fs.readFileSync(below))).toBe(true)
      await opener.run('os.close(f)')
    }
  })

  test('on a read-only mount', async () => {
    await using xfs = await loopFilesystem('xfs')
    writeSynced(`${xfs.path}/file`, noise(MEBIBYTE, 1))
    await using mount = await mounted(xfs.path, { flags: { readOnly: true } })
    const { O_RDONLY, O_WRONLY, O_RDWR, O_TRUNC } = fs.constants
    for (const access of [O_RDONLY, O_WRONLY, O_RDWR])
      expect(() => fs.openSync(`${mount.path}/file`, access | O_TRUNC)).toThrow('EROFS')
    expect(fs.statSync(`${xfs.path}/file`).size).toBe(MEBIBYTE)
  })
})
