/**
 * An inode has two nodeids while somebody has it open as it was. What changes through the older one is seen at once by who goes by the name, however long the kernel believes
 * attributes.
 */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const SIZE = 16 * MEBIBYTE

/** As `cp --sparse` does: what lies between data stays zeros. */
const COPY_BY_DATA = `
copied, at = bytearray(os.fstat(f).st_size), 0
while at < len(copied):
    try:
        data = os.lseek(f, at, os.SEEK_DATA)
    except OSError:
        break
    at = os.lseek(f, data, os.SEEK_HOLE)
    copied[data:at] = os.pread(f, at - data, data)
`

/** Done to the open file `f`, or `g`, which is open for writing. */
const CHANGES = {
  mode: 'os.fchmod(f, 0o604)',
  owner: 'os.fchown(f, 1234, 5678)',
  times: 'os.utime(f, (1e9, 1e9 + 1))',
  attribute: 'os.setxattr(f, "user.colour", b"red")',
  written: 'os.pwrite(g, b"x" * 5000, 17 << 20)',
  reserved: 'os.posix_fallocate(g, 0, 18 << 20)',
  copied: 'os.copy_file_range(o, g, 100_000, 0, 19 << 20)',
  truncated: 'os.ftruncate(g, 20 << 20)',
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'an inode with two nodeids', () => {
  test('what changes through the older one is seen by name at once', async () => {
    await using xfs = await loopFilesystem('xfs')
    writeSynced(`${xfs.path}/original`, noise(SIZE, 1))
    clone(`${xfs.path}/original`, `${xfs.path}/read`)
    clone(`${xfs.path}/original`, `${xfs.path}/written`)
    overwrite(`${xfs.path}/written`, 7 * PAGE, noise(2 * PAGE, 3))
    await settle()
    await using mount = await mounted(xfs.path, { flags: { minShare: '64K', timeout: 100 } })
    const at = (name: string) => `${mount.path}/${name}`
    await using older = startClient()
    await older.run('f = os.open(r, os.O_RDONLY); g = os.open(w, os.O_RDWR); o = os.open(source, os.O_RDONLY)', {
      r: at('read'),
      w: at('written'),
      source: at('original'),
    })
    expect((await mount.status()).files).toMatchObject({ pristine: 2, mapped: 1 })
    // Both are changed below, and so are served in another way from now on.
    for (const name of ['read', 'written']) overwrite(`${xfs.path}/${name}`, 99 * PAGE, noise(2 * PAGE, 3))
    await settle()
    await using newer = startClient()
    await newer.run('h = os.open(r, os.O_RDONLY); i = os.open(w, os.O_RDONLY)', { r: at('read'), w: at('written') })
    expect((await mount.status()).files).toMatchObject({ pristine: 2, mapped: 2 })
    // Not Node.js's: it asks for the time of birth, which the kernel does not keep.
    const seen = (name: string): Promise<unknown> =>
      newer.value(
        `(lambda s: [s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_blocks])(os.stat(${JSON.stringify(name)}))`,
      )
    for (const [what, change] of Object.entries(CHANGES)) {
      for (const name of ['read', 'written']) await seen(at(name))
      await older.run(change)
      for (const name of ['read', 'written'])
        expect(await seen(at(name)), `${what} ${name}`).toEqual(await seen(`${xfs.path}/${name}`))
    }
  })

  test('holes are where zeros are read, in what it shows as well', async () => {
    await using xfs = await loopFilesystem('xfs')
    writeSynced(`${xfs.path}/original`, noise(SIZE, 1))
    clone(`${xfs.path}/original`, `${xfs.path}/diverged`)
    overwrite(`${xfs.path}/diverged`, 7 * PAGE, noise(2 * PAGE, 3))
    await settle()
    await using mount = await mounted(xfs.path, { flags: { minShare: '64K' } })
    await using older = startClient()
    await older.run('o = os.open(original, os.O_RDONLY); f = os.open(path, os.O_RDONLY)', {
      original: `${mount.path}/original`,
      path: `${mount.path}/diverged`,
    })
    expect((await mount.status()).files).toMatchObject({ mapped: 1 })
    // Cut, and grown again: from the second page on it is one hole, natively and for who opens it now.
    fs.truncateSync(`${xfs.path}/diverged`, PAGE)
    fs.truncateSync(`${xfs.path}/diverged`, SIZE)
    await settle()
    await using newer = startClient()
    await newer.run('f = os.open(path, os.O_RDONLY)', { path: `${mount.path}/diverged` })
    expect(await newer.value(`os.lseek(f, ${PAGE}, os.SEEK_DATA)`).catch(String)).toContain('ENXIO')
    for (const client of [older, newer]) {
      await client.run(COPY_BY_DATA)
      expect(await client.value('[digest(copied), len(copied)]')).toEqual(
        await client.value('[digest(whole(f)), os.fstat(f).st_size]'),
      )
    }
    expect(await older.value('len(copied) - copied.count(0)')).toBeGreaterThan(SIZE / 2)
  })
})
