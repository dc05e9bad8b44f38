/** Who is charged for the memory: the first to touch a page, as for any file; and the daemon for what it reads for others. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { memoryCgroup } from '../support/cgroups.ts'
import { clone, forgetCached, MEBIBYTE, noise, overwrite, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

const SIZE = 64 * MEBIBYTE
/** Programs and libraries of the readers, and what the kernel has not counted yet. */
const LITTLE = 6 * MEBIBYTE

async function clones(): Promise<LoopFilesystem> {
  const xfs = await loopFilesystem('xfs')
  writeSynced(`${xfs.path}/original`, noise(SIZE, 1))
  for (const name of ['one', 'two', 'diverged']) clone(`${xfs.path}/original`, `${xfs.path}/${name}`)
  overwrite(`${xfs.path}/diverged`, 4 * MEBIBYTE, Buffer.alloc(4096, 'own page'))
  for (const name of fs.readdirSync(xfs.path)) forgetCached(`${xfs.path}/${name}`)
  return xfs
}

describeWith(['memory-cgroup', 'root', 'loop', 'xfs', 'fuse'], 'memory cgroups: reading clones', () => {
  test('natively charges each reader for a copy of its own', async () => {
    await using xfs = await clones()
    await using first = memoryCgroup('first')
    await using second = memoryCgroup('second')
    first.run('cat', `${xfs.path}/one`)
    second.run('cat', `${xfs.path}/two`)
    for (const { cacheBytes } of [first, second]) {
      expect(cacheBytes).toBeGreaterThan(SIZE - LITTLE)
      expect(cacheBytes).toBeLessThan(SIZE + LITTLE)
    }
  })

  test('without passthrough charges the daemon, once', async () => {
    await using xfs = await clones()
    await using daemon = memoryCgroup('daemon')
    await using first = memoryCgroup('first')
    await using second = memoryCgroup('second')
    await using mount = await mounted(xfs.path, { flags: { passthrough: false }, wrapper: daemon.wrapper })
    first.run('cat', `${mount.path}/one`)
    const charged = daemon.cacheBytes
    expect(charged).toBeGreaterThan(SIZE - LITTLE)
    second.run('cat', `${mount.path}/diverged`)
    expect(daemon.cacheBytes - charged).toBeLessThan(LITTLE)
    for (const { cacheBytes } of [first, second]) expect(cacheBytes).toBeLessThan(LITTLE)
  })
})

describeWith(['memory-cgroup', 'root', 'loop', 'xfs', 'fuse', 'passthrough'], 'memory cgroups: passthrough', () => {
  test('charges the first reader alone, for all', async () => {
    await using xfs = await clones()
    await using daemon = memoryCgroup('daemon')
    await using first = memoryCgroup('first')
    await using second = memoryCgroup('second')
    await using mount = await mounted(xfs.path, { wrapper: daemon.wrapper })
    first.run('cat', `${mount.path}/one`)
    expect(first.cacheBytes).toBeGreaterThan(SIZE - LITTLE)
    expect(first.cacheBytes).toBeLessThan(SIZE + LITTLE)
    const ofDaemon = daemon.cacheBytes

    second.run('cat', `${mount.path}/two`)
    // Read by the daemon, out of the same pages.
    second.run('cat', `${mount.path}/diverged`)
    expect(second.cacheBytes).toBeLessThan(LITTLE)
    expect(first.cacheBytes).toBeLessThan(SIZE + LITTLE)
    expect(daemon.cacheBytes - ofDaemon).toBeLessThan(LITTLE)
  })
})
