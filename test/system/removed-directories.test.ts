/** A directory that is removed through the mount lives on for those whose working directory it is, and goes when nobody has it. A file goes at once. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import { MEBIBYTE, noise, run, writeSynced } from '../support/files.ts'
import { type LoopKind, loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith, findProgram } from '../support/requires.ts'

async function descriptorsOf(mount: Mounted): Promise<number> {
  return fs.readdirSync(`/proc/${(await mount.status()).pid}/fd`).length
}

for (const kind of ['xfs', 'btrfs', 'ext4'] as const satisfies readonly LoopKind[]) {
  describeWith(['root', 'loop', kind, 'fuse', 'program:python3', 'program:prlimit'], `removed on ${kind}`, () => {
    test('a working directory', async () => {
      await using filesystem = await loopFilesystem(kind)
      await using mount = await mounted(filesystem.path)
      await using client = startClient()
      await client.run('os.mkdir(path + "/in"), os.chdir(path + "/in"), os.rmdir(path + "/in")', { path: mount.path })
      expect(await client.outcome('os.listdir(".")')).toEqual([])
      expect(await client.outcome('os.stat(".").st_nlink')).toBe(0)
      expect(await client.outcome('os.mkdir("new")')).toBe('ENOENT')
      expect(await client.outcome('[os.chmod(".", 0o700), os.stat(".").st_mode & 0o777][1]')).toBe(0o700)
      expect(await client.outcome('[os.utime(".", (1, 2)), os.stat(".").st_mtime][1]')).toBe(2)
      expect(await client.outcome('[os.setxattr(".", "user.a", b"1"), os.listxattr(".")][1]')).toContain('user.a')
      expect(await client.outcome('os.statvfs(".").f_bsize > 0')).toBe(true)
      expect(await client.outcome('os.listdir("..")')).not.toContain('in')
    })

    test('what nobody has is gone at once: descriptors and space', async () => {
      await using filesystem = await loopFilesystem(kind)
      await using mount = await mounted(filesystem.path)
      const path = mount.path
      await using client = startClient()
      const before = await descriptorsOf(mount)
      await client.run('n = [path + "/%d" % i for i in range(300)]', { path })
      await client.run('[os.mkdir(name) for name in n]; [os.rename(n[i], n[i + 1]) for i in range(200)]')
      await client.run('[os.rmdir(name) for name in n if os.path.exists(name)]')
      await eventually(async () => expect(await descriptorsOf(mount)).toBeLessThan(before + 20))
      const free = () => {
        run('sync', '-f', filesystem.path)
        const { bfree, bsize } = fs.statfsSync(filesystem.path)
        return bfree * bsize
      }
      writeSynced(`${path}/large`, noise(32 * MEBIBYTE, 1))
      const full = free()
      // Somebody who has it by O_PATH does not change that.
      await client.run('f = os.open(path, os.O_PATH); os.unlink(path)', { path: `${path}/large` })
      expect(free()).toBeGreaterThan(full + 30 * MEBIBYTE)
    })
  })
}

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3', 'program:prlimit'], 'many removed directories', () => {
  test('that somebody has leave half of the descriptors to others', async () => {
    await using filesystem = await loopFilesystem('xfs')
    await using mount = await mounted(filesystem.path, {
      flags: { passthrough: false, workers: 3 },
      wrapper: [findProgram('prlimit')!, '--nofile=400:400'],
    })
    await using client = startClient()
    const path = mount.path
    const before = await descriptorsOf(mount)
    await client.run('n = [path + "/%d" % i for i in range(500)]; [os.mkdir(name) for name in n]', { path })
    await client.run('f = [os.open(name, os.O_PATH) for name in n]; [os.rmdir(name) for name in n]')
    expect(await client.value('os.fstat(f[0]).st_nlink')).toBe(0)
    expect(await client.outcome('os.fstat(f[499]).st_nlink')).toBe('ESTALE')
    expect(await descriptorsOf(mount)).toBeLessThan(230)
    fs.writeFileSync(`${path}/file`, 'x')
    expect(fs.readFileSync(`${path}/file`, 'utf8')).toBe('x')
    await client.run('[os.close(one) for one in f]')
    await eventually(async () => expect(await descriptorsOf(mount)).toBeLessThan(before + 20))
  })
})
