/**
 * Shared pages are held once: what the page cache has of homes, of the files below and of the mount's own inodes, in pages; and what was read from
 * the device for it. Natively each clone would be cached and read for itself. And what must not come of sharing: a way to write.
 */
import fs from 'node:fs'
import { describe, expect, test } from 'vitest'
import { cloneRange } from '../../src/linux/clone.ts'
import { O_RDWR } from '../../src/linux/file.ts'
import { startClient } from '../support/client.ts'
import { eventually } from '../support/eventually.ts'
import {
  clone,
  freeBytes,
  MEBIBYTE,
  noise,
  overwrite,
  PAGE,
  residentIn,
  run,
  withFd,
  writeSynced,
} from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const BYTES = 32 * MEBIBYTE
const PAGES = BYTES / PAGE
const CLONES = 6

/** Nothing of the file system is cached after this. */
async function cool(filesystem: LoopFilesystem): Promise<void> {
  await filesystem.unmount()
  await filesystem.mount()
  await settle()
}

/** Reads without readahead of the reader's own: 1 MiB at a time. */
function readWhole(file: string): number {
  const buffer = Buffer.alloc(MEBIBYTE)
  const fd = fs.openSync(file, 'r')
  let bytes = 0
  for (let length = 1; length > 0; bytes += length) length = fs.readSync(fd, buffer, 0, buffer.length, bytes)
  fs.closeSync(fd)
  return bytes
}

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', 'cachestat', 'program:python3', kind], `memory of clones on ${kind}`, () => {
    for (const passthrough of [true, false])
      describe(passthrough ? 'with passthrough' : 'through the daemon', () => {
        const flags = passthrough ? {} : ({ passthrough: false } as const)

        test(`${CLONES} clones and one page of difference take one copy and one page`, async () => {
          await using filesystem = await loopFilesystem(kind)
          const at = (name: string) => `${filesystem.path}/${name}`
          const names = Array.from({ length: CLONES }, (_, i) => `clone${i}`)
          writeSynced(at('original'), noise(BYTES, 1))
          for (const name of names) clone(at('original'), at(name))
          const own = 1234
          overwrite(at('clone3'), own * PAGE, noise(PAGE, 2))
          await cool(filesystem)

          await using mount = await mounted(filesystem.path, { flags })
          const before = filesystem.bytesRead()
          for (const name of ['original', ...names]) expect(readWhole(`${mount.path}/${name}`)).toBe(BYTES)
          const { homes } = await mount.status()
          expect(homes.homes).toBe(1)
          expect(homes.cachedBytes).toBe(BYTES)
          // What it stands for: every file in full, but for the one page.
          expect(homes.nativeBytes).toBeGreaterThan(BYTES * CLONES)
          // Of the files themselves nothing is cached, but the page that is no other file's.
          for (const name of ['original', ...names]) expect(residentIn(at(name)), name).toBe(name === 'clone3' ? 1 : 0)
          expect(filesystem.bytesRead() - before).toBeLessThan(BYTES * 1.02 + 2 * MEBIBYTE)
          // Natively the next reader of each has everything to read.
          expect(readWhole(at('clone1'))).toBe(BYTES)
          expect(filesystem.bytesRead() - before).toBeGreaterThan(BYTES * 1.9)

          // One page rewritten below after that: one page more, and all else is still shared.
          overwrite(at('clone5'), 77 * PAGE, noise(PAGE, 3))
          await settle()
          fs.writeFileSync('/proc/sys/vm/drop_caches', '1')
          const content = fs.readFileSync(`${mount.path}/clone5`)
          expect(content.subarray(77 * PAGE, 78 * PAGE).equals(noise(PAGE, 3))).toBe(true)
          expect(residentIn(at('clone5'))).toBe(1)
          // Of the home all but that page is needed; readahead may have brought it too.
          expect((await mount.status()).homes.cachedBytes).toBeGreaterThanOrEqual(BYTES - PAGE)
          expect((await mount.status()).homes.cachedBytes).toBeLessThanOrEqual(BYTES)
        })

        test('ranges at other offsets, clones of clones and deduped files are held once too', async () => {
          await using filesystem = await loopFilesystem(kind)
          const at = (name: string) => `${filesystem.path}/${name}`
          writeSynced(at('original'), noise(BYTES, 1))
          // The middle of it, moved by five pages, behind something else.
          writeSynced(at('moved'), noise(5 * PAGE, 2))
          withFd(at('original'), (source) =>
            withFd(at('moved'), (target) => cloneRange(target, 5 * PAGE, source, 8 * MEBIBYTE, 16 * MEBIBYTE), O_RDWR),
          )
          clone(at('moved'), at('moved-again'))
          writeSynced(at('copy'), noise(BYTES, 1))
          for (let offset = 0; offset < BYTES; offset += 8 * MEBIBYTE)
            run('xfs_io', '-c', `dedupe ${at('original')} ${offset} ${offset} ${8 * MEBIBYTE}`, at('copy'))
          await cool(filesystem)
          await using mount = await mounted(filesystem.path, { flags })
          const names = ['original', 'moved', 'moved-again', 'copy']
          for (const name of names) readWhole(`${mount.path}/${name}`)
          const { homes } = await mount.status()
          let pages = homes.cachedBytes / PAGE
          for (const name of names) pages += residentIn(at(name))
          // The content, the five pages before it, and what readahead of own pages takes.
          expect(pages).toBeLessThanOrEqual(PAGES + 5 + 32)
          expect(pages).toBeGreaterThanOrEqual(PAGES + 5)
        })
      })

    test('mapped: of a pristine file nothing more is cached, of a diverged one a copy, until the last mapping goes', async () => {
      await using filesystem = await loopFilesystem(kind)
      const at = (name: string) => `${filesystem.path}/${name}`
      writeSynced(at('original'), noise(BYTES, 1))
      for (const name of ['pristine', 'diverged']) clone(at('original'), at(name))
      overwrite(at('diverged'), 5 * PAGE, noise(PAGE, 2))
      await cool(filesystem)
      await using mount = await mounted(filesystem.path)
      await using client = startClient()
      readWhole(`${mount.path}/original`)
      for (const name of ['pristine', 'diverged'])
        await client.run(
          'f = os.open(path, os.O_RDONLY); m[name] = mmap.mmap(f, 0, prot=mmap.PROT_READ); os.close(f); digest(m[name])',
          {
            path: `${mount.path}/${name}`,
            name,
            ...(name === 'pristine' ? { m: {} } : {}),
          },
        )
      const mappedStatus = await mount.status()
      expect(mappedStatus.homes.cachedBytes).toBe(BYTES)
      expect(mappedStatus.files.copied).toBe(1)
      expect(mappedStatus.bytesRead.copied).toBeGreaterThanOrEqual(BYTES)
      expect(residentIn(at('pristine'))).toBe(0)
      await client.run('[mapping.close() for mapping in m.values()]')
      await eventually(async () => expect((await mount.status()).files.copied).toBe(0))
    })

    test('attack: neither a client that opens for writing nor a mount made writable leads to a home', async () => {
      await using filesystem = await loopFilesystem(kind)
      const at = (name: string) => `${filesystem.path}/${name}`
      const content = noise(4 * MEBIBYTE, 1)
      writeSynced(at('original'), content)
      clone(at('original'), at('clone'))
      await settle()
      await using mount = await mounted(filesystem.path, { flags: { readOnly: true } })
      await using client = startClient()
      for (const name of ['original', 'clone'])
        await client.run('open(path, "rb").read()', { path: `${mount.path}/${name}` })
      expect((await mount.status()).homes.homes).toBe(1)
      const attempts = async () => {
        for (const open of ['os.O_RDWR', 'os.O_WRONLY', 'os.O_RDWR | os.O_TRUNC', 'os.O_WRONLY | os.O_APPEND'])
          expect(await client.outcome(`os.open(path, ${open})`), open).toBe('EROFS')
        expect(await client.outcome('os.truncate(path, 0)')).toBe('EROFS')
        await client.run('f = os.open(path, os.O_RDONLY)')
        expect(await client.outcome('os.write(f, b"x")')).toBe('EBADF')
        expect(await client.outcome('mmap.mmap(f, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE)')).toBe('EACCES')
        // What the descriptor leads to, opened anew.
        expect(await client.outcome('os.open("/proc/self/fd/%d" % f, os.O_RDWR)')).toBe('EROFS')
        await client.run('os.close(f)')
      }
      await client.run('pass', { path: `${mount.path}/clone` })
      await attempts()
      // The administrator may make the mount writable; the daemon is asked then, and refuses.
      run('mount', '-i', '-o', 'remount,rw', mount.path)
      await attempts()
      for (const [what, error] of [
        ['os.mkdir(path + "-directory")', 'EROFS'],
        ['os.unlink(path)', 'EROFS'],
        ['os.rename(path, path + "-moved")', 'EROFS'],
        ['os.link(path, path + "-link")', 'EROFS'],
        ['os.symlink("x", path + "-symlink")', 'EROFS'],
        ['os.chmod(path, 0o777)', 'EROFS'],
        ['os.setxattr(path, "user.x", b"x")', 'EROFS'],
        ['os.open(path + "-new", os.O_CREAT | os.O_RDWR)', 'EROFS'],
      ] as const)
        expect(await client.outcome(what), what).toBe(error)
      for (const name of ['original', 'clone']) {
        expect(fs.readFileSync(at(name)).equals(content)).toBe(true)
        expect(fs.readFileSync(`${mount.path}/${name}`).equals(content)).toBe(true)
      }
      expect(fs.readdirSync(filesystem.path).sort()).toEqual(['clone', 'original'])
    })

    test('homes that nobody uses are dropped: free space and what is shared are as natively', async () => {
      await using filesystem = await loopFilesystem(kind)
      const at = (name: string) => `${filesystem.path}/${name}`
      writeSynced(at('original'), noise(BYTES, 1))
      clone(at('original'), at('clone'))
      await settle()
      const free = freeBytes(filesystem.path)
      await using mount = await mounted(filesystem.path, { flags: { homeIdle: 1 } })
      for (const name of ['original', 'clone']) readWhole(`${mount.path}/${name}`)
      expect((await mount.status()).homes.homes).toBe(1)
      // All of it is overwritten in one: natively that takes its size, and a home that is kept pins as much again once the other goes.
      overwrite(at('clone'), 0, noise(BYTES, 2))
      fs.unlinkSync(at('original'))
      await eventually(async () => expect((await mount.status()).homes.homes).toBe(0), 30_000)
      await eventually(() => expect(Math.abs(freeBytes(filesystem.path) - free)).toBeLessThan(3 * MEBIBYTE), 30_000)
      expect((await mount.status()).homes.pinnedBytes).toBe(0)
    })
  })

describeWith(['root', 'loop', 'fuse', 'xfs'], 'without homes', () => {
  test('nothing is written to the source, whatever is read', async () => {
    await using filesystem = await loopFilesystem('xfs', { mount: ['noatime'] })
    writeSynced(`${filesystem.path}/original`, noise(4 * MEBIBYTE, 1))
    for (let i = 0; i < 4; i++) clone(`${filesystem.path}/original`, `${filesystem.path}/clone${i}`)
    await cool(filesystem)
    const state = () => JSON.stringify([fs.statfsSync(filesystem.path), fs.statSync(filesystem.path).ctimeMs])
    run('sync', '-f', filesystem.path)
    const before = state()
    {
      await using mount = await mounted(filesystem.path, { flags: { homes: false } })
      for (let i = 0; i < 4; i++) readWhole(`${mount.path}/clone${i}`)
      const { homes, sharing } = await mount.status()
      expect([homes.homesMade, sharing.possible]).toEqual([0, false])
    }
    expect(state()).toBe(before)
  })
})
