/** A source that is frozen (fsfreeze, a snapshot of its volume): what only reads goes on, as natively, and what changes waits until it is thawed. */
import fs from 'node:fs'
import { performance } from 'node:perf_hooks'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, overwrite, run, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

/** Reads go on, on a machine that is busy with other things, too. */
const AT_ONCE_MS = 10_000

/** Frozen until it is disposed of, but not for ever where the test waits for what waits for that. */
function frozen(filesystem: LoopFilesystem): Disposable {
  run('sync', '-f', filesystem.path)
  run('fsfreeze', '--freeze', filesystem.path)
  let isFrozen = true
  const thaw = () => {
    if (isFrozen) run('fsfreeze', '--unfreeze', filesystem.path)
    isFrozen = false
    clearTimeout(late)
  }
  const late = setTimeout(thaw, 2 * AT_ONCE_MS)
  return { [Symbol.dispose]: thaw }
}

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', 'program:python3', 'program:fsfreeze', kind], `frozen ${kind}`, () => {
    test('clones that have no home yet are read, by themselves; thawed, they get one', async () => {
      await using filesystem = await loopFilesystem(kind)
      const original = noise(4 * MEBIBYTE, 1)
      writeSynced(`${filesystem.path}/original`, original)
      // More than the libuv pool has threads.
      const names = Array.from({ length: 16 }, (_, i) => `clone${i}`)
      for (const [i, name] of names.entries()) {
        clone(`${filesystem.path}/original`, `${filesystem.path}/${name}`)
        // Families of their own: each would get a home.
        overwrite(`${filesystem.path}/${name}`, 0, noise(2 * MEBIBYTE, 10 + i))
        clone(`${filesystem.path}/${name}`, `${filesystem.path}/${name}.same`)
      }
      run('sync', '-f', filesystem.path)
      await settle()
      await using mount = await mounted(filesystem.path)
      await using client = startClient()
      await using writer = startClient()
      const read = 'digest(open(path, "rb").read())'
      {
        using _ = frozen(filesystem)
        const began = performance.now()
        for (const name of ['original', ...names, ...names])
          expect(await client.value(read, { path: `${mount.path}/${name}` }), name).toBe(
            await client.value(read, { path: `${filesystem.path}/${name}` }),
          )
        expect(performance.now() - began).toBeLessThan(AT_ONCE_MS)
        expect((await mount.status()).homes.homesMade).toBe(0)
        void writer.run('open(path, "w").write("x")', { path: `${mount.path}/new` })
        expect(await client.value('os.path.getsize(path)', { path: `${mount.path}/original` })).toBe(original.length)
      }
      await eventually(() => expect(fs.readFileSync(`${filesystem.path}/new`, 'utf8')).toBe('x'))
      // What was being made when they gave up is given back.
      await eventually(async () => expect((await mount.status()).homes.homes).toBe(0))
      await client.run('opened = [os.open(path + name, os.O_RDONLY) for name in ("/clone1", "/clone1.same")]', {
        path: mount.path,
      })
      const { homes } = await mount.status()
      expect([homes.homesMade, homes.pristine]).toEqual([1, 2])
      expect(await client.value('[len(os.pread(f, 1 << 23, 0)) for f in opened]')).toEqual([
        original.length,
        original.length,
      ])
      await client.run('[os.close(f) for f in opened]')
    })
  })
