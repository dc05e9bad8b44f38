/** `--dax` on storage without DAX: accepted, said, and files are served as without it. What it does on persistent memory: test/guest/mount-dax-modes.guest.ts. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { clone, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { freePort } from '../support/ports.ts'
import { parsePrometheus } from '../support/prometheus.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'
import { settle } from '../support/settled.ts'

const SIZE = 2 * MEBIBYTE

describeWith(['root', 'loop', 'fuse', 'xfs'], '--dax where there is none', () => {
  test.each([
    { mode: 'direct', args: [] },
    { mode: 'auto', args: ['--memory', '8MiB'] },
    { mode: 'auto', args: ['--memory', '8MiB', '--merge', 'content'] },
    { mode: 'cache', args: [] },
  ])('$mode $args', async ({ mode, args }) => {
    await using xfs = await loopFilesystem('xfs')
    const bytes = noise(SIZE, 1)
    const changed = Buffer.from(bytes)
    writeSynced(`${xfs.path}/original`, bytes)
    writeSynced(`${xfs.path}/alone`, noise(SIZE, 2))
    for (const name of ['clone', 'diverged']) clone(`${xfs.path}/original`, `${xfs.path}/${name}`)
    overwrite(`${xfs.path}/diverged`, 5 * PAGE, noise(PAGE, 3))
    noise(PAGE, 3).copy(changed, 5 * PAGE)
    await settle()
    const address = `127.0.0.1:${await freePort()}`
    await using mount = await mounted(xfs.path, {
      flags: { passthrough: false, metrics: address },
      args: ['--dax', mode, ...args],
    })
    const read = (name: string) => fs.readFileSync(`${mount.path}/${name}`)
    for (let round = 0; round < 2; round++) {
      for (const name of ['original', 'clone']) expect(read(name).equals(bytes)).toBe(true)
      expect(read('diverged').equals(changed)).toBe(true)
      expect(read('alone').equals(noise(SIZE, 2))).toBe(true)
    }
    const { dax, merge, bytesRead, homes } = await mount.status()
    expect(homes.homes).toBe(1)
    expect(bytesRead.fromHomes).toBeGreaterThanOrEqual(5 * SIZE)
    const metrics = parsePrometheus(await (await fetch(`http://${address}/metrics`)).text())
    expect(metrics.get('samepage_dax_homes')?.samples.get('')).toBe(mode === 'cache' ? undefined : 0)
    if (mode === 'cache') expect(dax).toBeUndefined()
    else expect(dax).toMatchObject({ mode, homes: 0, directPages: 0, directHits: 0, promotedBytes: 0, promotions: 0 })
    // What is not on DAX is held for its content as ever.
    expect(merge?.bytesLoaded).toBe(args.includes('--merge') ? SIZE : undefined)
    const text = samepage(['status', mount.path]).stdout
    expect(text.includes('no home on DAX so far')).toBe(mode !== 'cache')
  })
})
