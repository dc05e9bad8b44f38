/**
 * `samepage inspect` where one tree shows the files of another: overlayfs, and Samepage's own mounts with their homes. What
 * lies below counts once, where it lies; what nobody can know is said to be unknown.
 */
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { clone, noise, overwrite, PAGE, run, writeSynced } from '../support/files.ts'
import { inspect, inspectResident, samepage } from '../support/inspect.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

describeWith(['root', 'loop', 'cachestat', 'xfs', 'fuse'], 'samepage inspect where one tree shows another', () => {
  let filesystem: LoopFilesystem
  beforeAll(async () => {
    filesystem = await loopFilesystem('xfs')
  })
  afterAll(async () => {
    await filesystem?.[Symbol.asyncDispose]()
  })

  test('on overlayfs the cached pages are those of the file below, and sharing is said to be unknown', () => {
    const layers = path.join(filesystem.path, 'layers')
    const at = (name: string) => path.join(layers, name)
    for (const name of ['lower', 'upper', 'work', 'merged']) fs.mkdirSync(at(name), { recursive: true })
    writeSynced(at('lower/file'), noise(32 * PAGE, 1))
    writeSynced(at('upper/own'), noise(32 * PAGE, 2))
    run('sync', '-f', layers)
    const options = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`
    run('mount', '-t', 'overlay', '-o', options, 'overlay', at('merged'))
    try {
      const residency = { [at('lower/file')]: [[5, 12]], [at('upper/own')]: [[0, 32]] } as const
      const report = inspectResident(residency, [at('merged')])
      expect(report.totals).toMatchObject({ files: 2, cachedBytes: (7 + 32) * PAGE, sharedBytes: 0 })
      expect(report.unknown).toMatchObject({ sharingFiles: 2, residencyFiles: 0 })
      expect(new Set(report.filesystems.map(({ residency: source }) => source))).toEqual(new Set(['mincore']))
      expect(samepage('inspect', at('merged')).stdout).toMatch(/^Cached more than once now +unknown$/m)

      // What --content reads it drops again; what was there before stays, though cachestat denies that here.
      const compared = inspectResident(residency, ['--content', at('merged')])
      expect(compared.content).toMatchObject({ readBytes: 64 * PAGE, equalBytes: 0 })
      expect(compared.notes.join()).toContain('may share storage already')

      // Met on the way it would show, and count, the layers a second time.
      const whole = inspectResident(residency, [layers])
      expect(whole.totals).toMatchObject({ files: 2, cachedBytes: (7 + 32) * PAGE, diskBytes: 64 * PAGE })
      expect(whole.leftOut).toEqual([{ path: at('merged'), kind: 'overlay', why: expect.any(String) }])
      expect(whole.unknown.sharingFiles).toBe(0)
    } finally {
      run('umount', at('merged'))
    }
  })

  test('on overlayfs of several file systems no directory is taken for another, though inode numbers use all 64 bits', async () => {
    await using other = await loopFilesystem('ext4', { size: 64 * 2 ** 20 })
    const at = (name: string) => path.join(filesystem.path, 'several', name)
    for (const name of ['upper', 'work', 'merged']) fs.mkdirSync(at(name), { recursive: true })
    const count = 30
    for (let i = 0; i < count; i++) {
      fs.mkdirSync(path.join(other.path, `lower/d${i}`), { recursive: true })
      fs.writeFileSync(path.join(other.path, `lower/d${i}/file`), 'x')
    }
    const layers = `lowerdir=${other.path}/lower,upperdir=${at('upper')},workdir=${at('work')}`
    run('mount', '-t', 'overlay', '-o', `${layers},xino=on`, 'overlay', at('merged'))
    try {
      const { ino } = fs.statSync(at('merged/d0'), { bigint: true })
      expect(BigInt.asUintN(64, ino)).toBeGreaterThan(2n ** 53n)
      expect(inspect(at('merged')).totals).toMatchObject({ files: count, directories: count + 1, hardLinks: 0 })
    } finally {
      run('umount', at('merged'))
    }
  })

  test('homes of a mount that is being read are in no sum, wherever the mount lies', async () => {
    const tree = path.join(filesystem.path, 'source')
    const at = (name: string) => path.join(tree, name)
    fs.mkdirSync(at('images'), { recursive: true })
    fs.mkdirSync(at('view'))
    writeSynced(at('images/base'), noise(256 * PAGE, 3))
    for (const name of ['one', 'two']) clone(at('images/base'), at(`images/${name}`))
    overwrite(at('images/two'), 10 * PAGE, noise(3 * PAGE, 4))
    run('sync', '-f', tree)
    const names = ['base', 'one', 'two']
    const residency = {
      [at('images/base')]: [[0, 256]],
      [at('images/one')]: [[100, 200]],
      [at('images/two')]: [],
    } as const
    const before = inspectResident(residency, [tree])
    expect(before.totals).toMatchObject({ cachedBytes: 356 * PAGE, duplicateBytes: 100 * PAGE, elsewhereBytes: 0 })

    await using mount = await mounted(at('images'), { at: at('view') })
    for (const name of names) expect(fs.readFileSync(path.join(mount.path, name)).length).toBe(256 * PAGE)
    const { homes } = await mount.status()
    expect(homes.cachedBytes).toBeGreaterThanOrEqual(256 * PAGE)

    // What the mount reads of a file's own pages lies in that file's memory, and is therefore set anew.
    const during = inspectResident(residency, [tree])
    const { totals, files, groups } = before
    expect(during).toMatchObject({ totals: { ...totals, directories: totals.directories - 1 }, files, groups })
    expect(during.leftOut).toEqual([{ path: at('view'), kind: 'fuse.samepage', why: expect.any(String) }])

    // Asked for by name it is looked at, as far as anything is known about it.
    const view = inspect(mount.path)
    expect(view.totals).toMatchObject({ files: 3, sizeBytes: 768 * PAGE, cachedBytes: 0, sharedBytes: 0 })
    expect(view.unknown).toMatchObject({ residencyFiles: 3, sharingFiles: 3 })
    const { stdout } = samepage('inspect', mount.path)
    expect(stdout).toMatch(/^Cached now +unknown$/m)
    expect(stdout).toMatch(/^On disk +≤ /m)
  })
})
