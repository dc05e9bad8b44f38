/**
 * Opening with O_TRUNC, and truncate(2), do what they do natively, however the file is served and whoever has it open; and what is refused cuts
 * nothing. (FUSE_ATOMIC_O_TRUNC would: see docs/ARCHITECTURE.md, what does not hold.)
 */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { clone, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

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
