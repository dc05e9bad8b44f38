/** The whole in a minute: clones on a real XFS, mounted by the built program, read, unmounted. Run on every Node.js. */
import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'

const MEBIBYTE = 2 ** 20

function samepage(...args: string[]): string {
  return execFileSync(process.execPath, [path.join(ROOT, 'dist/cli/main.js'), ...args], { encoding: 'utf8' })
}

describeWith(['root', 'loop', 'xfs', 'fuse'], 'the built program', () => {
  test('mounts clones, serves their bytes and unmounts', async () => {
    await using xfs = await loopFilesystem('xfs')
    const original = randomFillSync(Buffer.alloc(8 * MEBIBYTE))
    fs.writeFileSync(`${xfs.path}/original`, original)
    for (const clone of ['pristine', 'diverged']) {
      execFileSync('cp', ['--reflink=always', `${xfs.path}/original`, `${xfs.path}/${clone}`])
    }
    const file = fs.openSync(`${xfs.path}/diverged`, 'r+')
    fs.writeSync(file, Buffer.alloc(4096, 'own page'), 0, 4096, 4 * MEBIBYTE)
    fs.closeSync(file)

    const mountpoint = `${xfs.directory}/mnt`
    fs.mkdirSync(mountpoint)
    samepage('mount', '--daemon', xfs.path, mountpoint)
    try {
      expect(fs.readdirSync(mountpoint).sort()).toEqual(['diverged', 'original', 'pristine'])
      for (const name of ['original', 'pristine', 'diverged']) {
        const source = fs.readFileSync(`${xfs.path}/${name}`)
        expect(fs.readFileSync(`${mountpoint}/${name}`).equals(source), name).toBe(true)
      }
      expect(() => JSON.parse(samepage('status', '--json', mountpoint))).not.toThrow()
    } finally {
      samepage('umount', mountpoint)
    }
    expect(fs.readdirSync(mountpoint)).toEqual([])
  })
})
