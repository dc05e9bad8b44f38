/** What many clients at once, mappings, tenants and few descriptors must not do to files that share memory. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { clone, MEBIBYTE, noise, overwrite, PAGE, run, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

/** Large enough for the base to get a home when it is opened first. */
const BYTES = 2 * MEBIBYTE

/** The base, and clones of it in which every eighth page is their own. */
async function makeDiverged(directory: string, count: number): Promise<void> {
  writeSynced(`${directory}/base`, noise(BYTES, 1))
  for (let i = 0; i < count; i++) {
    clone(`${directory}/base`, `${directory}/clone${i}`)
    for (let page = 0; page < BYTES / PAGE; page += 8)
      overwrite(`${directory}/clone${i}`, page * PAGE, Buffer.alloc(PAGE, `${i} `), false)
  }
  run('sync', '-f', directory)
  await settle()
}

describeWith(['root', 'loop', 'xfs', 'fuse'], 'files that share memory, under load', () => {
  test('each of many who open one file at once has a descriptor of his own', async () => {
    const FILES = 12
    await using xfs = await loopFilesystem('xfs')
    await makeDiverged(xfs.path, FILES)
    // Not passed through: then every open has a descriptor in the daemon.
    await using mount = await mounted(xfs.path, { flags: { passthrough: false } })
    fs.readFileSync(`${mount.path}/base`)
    const kept: { file: number; handle: fs.promises.FileHandle }[] = []
    for (let file = 0; file < FILES; file++) {
      const opening = Array.from({ length: 4 }, () => fs.promises.open(`${mount.path}/clone${file}`))
      const handles = await Promise.all(opening)
      // Half of them close; those who stay must not notice, whatever is opened then.
      await handles[0]!.close()
      await handles[2]!.close()
      kept.push({ file, handle: handles[1]! }, { file, handle: handles[3]! })
    }
    for (const { file, handle } of kept) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(BYTES), 0, BYTES, 0)
      expect(bytesRead).toBe(BYTES)
      expect(buffer.equals(fs.readFileSync(`${xfs.path}/clone${file}`)), `clone${file}`).toBe(true)
      await handle.close()
    }
  })

  for (const [minWriteShare, served] of [
    ['8MiB', 'private'],
    ['1MiB', 'mapped'],
  ] as const)
    test(`opened for writing, with --min-write-share ${minWriteShare}, a clone of 2 MiB is ${served}`, async () => {
      await using xfs = await loopFilesystem('xfs')
      await makeDiverged(xfs.path, 1)
      await using mount = await mounted(xfs.path, { args: ['--min-write-share', minWriteShare] })
      fs.readFileSync(`${mount.path}/base`)
      const fd = fs.openSync(`${mount.path}/clone0`, 'r+')
      expect((await mount.status()).files).toMatchObject({ open: 1, private: 0, mapped: 0, [served]: 1 })
      fs.writeSync(fd, 'written', 5000)
      fs.closeSync(fd)
      expect(fs.readFileSync(`${xfs.path}/clone0`).toString('latin1', 5000, 5007)).toBe('written')
      expect(fs.readFileSync(`${mount.path}/clone0`).equals(fs.readFileSync(`${xfs.path}/clone0`))).toBe(true)
    })

  test("a mapping of a diverged file leaves its home's pages where they are", async () => {
    await using xfs = await loopFilesystem('xfs')
    await makeDiverged(xfs.path, 1)
    await using mount = await mounted(xfs.path)
    fs.readFileSync(`${mount.path}/base`)
    fs.readFileSync(`${mount.path}/clone0`)
    const before = await mount.status()
    const code =
      'import mmap, sys; f = open(sys.argv[1], "rb"); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sys.stdout.buffer.write(m[:])'
    const mapped = execFileSync('python3', ['-c', code, `${mount.path}/clone0`], { maxBuffer: 2 * BYTES })
    expect(mapped.equals(fs.readFileSync(`${xfs.path}/clone0`))).toBe(true)
    const after = await mount.status()
    expect(after.bytesRead.copied).toBeGreaterThanOrEqual(BYTES)
    expect(after.homes.cachedBytes).toBe(before.homes.cachedBytes)
  })

  test('of more families than --max-homes allows some are served without, or take the place of one that is idle, and all read what they are', async () => {
    await using xfs = await loopFilesystem('xfs')
    const families = ['a', 'b', 'c', 'd']
    for (const [seed, name] of families.entries()) {
      writeSynced(`${xfs.path}/${name}`, noise(BYTES, seed))
      clone(`${xfs.path}/${name}`, `${xfs.path}/${name}-clone`)
      overwrite(`${xfs.path}/${name}-clone`, 3 * PAGE, noise(PAGE, 100 + seed), false)
    }
    run('sync', '-f', xfs.path)
    await settle()
    await using mount = await mounted(xfs.path, { args: ['--max-homes', '2'], flags: { passthrough: false } })
    const homes = async () => (await mount.status()).homes
    const expectRight = (name: string, fd: number) => {
      const read = Buffer.alloc(BYTES)
      expect(fs.readSync(fd, read, 0, BYTES, 0)).toBe(BYTES)
      expect(read.equals(fs.readFileSync(`${xfs.path}/${name}`)), name).toBe(true)
    }
    const opened = new Map<string, number>()
    const open = (name: string) => opened.set(name, fs.openSync(`${mount.path}/${name}`, 'r'))
    try {
      for (const name of ['a', 'a-clone', 'b', 'b-clone']) open(name)
      expect(await homes()).toMatchObject({ homes: 2, inUse: 2, members: 4 })
      // Both are in use.
      for (const name of ['c', 'c-clone']) open(name)
      expect(await homes()).toMatchObject({ homes: 2, inUse: 2, members: 4, private: { 'many homes': 2 } })
      for (const [name, fd] of opened) expectRight(name, fd)
      // Nobody has one of them open any more: it goes where another one is wanted.
      for (const name of ['a', 'a-clone']) {
        fs.closeSync(opened.get(name)!)
        opened.delete(name)
      }
      await eventually(async () => expect((await homes()).inUse).toBe(1))
      for (const name of ['d', 'd-clone']) open(name)
      expect(await homes()).toMatchObject({ homes: 2, inUse: 2, members: 4, private: { 'many homes': 2 } })
      // What had it is served without.
      for (const name of ['a', 'a-clone']) open(name)
      expect(await homes()).toMatchObject({ homes: 2, inUse: 2, private: { 'many homes': 4 } })
      for (const [name, fd] of opened) expectRight(name, fd)
    } finally {
      for (const fd of opened.values()) fs.closeSync(fd)
    }
  })

  test('the supervisor, which is to outlive who serves, neither reads nor writes what clients do', async () => {
    await using xfs = await loopFilesystem('xfs')
    await makeDiverged(xfs.path, 1)
    await using mount = await mounted(xfs.path, { flags: { passthrough: false } })
    /** Bytes that all of its threads have read and written so far, of files, pipes and devices. */
    const moved = () => {
      const io = fs.readFileSync(`/proc/${mount.process.pid}/io`, 'latin1')
      return Number(/^rchar: (\d+)$/m.exec(io)?.[1]) + Number(/^wchar: (\d+)$/m.exec(io)?.[1])
    }
    const before = moved()
    fs.writeFileSync(`${mount.path}/written`, fs.readFileSync(`${mount.path}/clone0`))
    for (let i = 0; i < 100; i++) fs.statSync(`${mount.path}/none${i}`, { throwIfNoEntry: false })
    const { requests } = await mount.status()
    expect(requests.find(({ name }) => name === 'READ')?.count).toBeGreaterThan(1)
    // Room for its event loop, which wakes itself by a few bytes.
    expect(moved() - before).toBeLessThan(1000)
  })

  test('many directories are looked up with few descriptors', async () => {
    await using xfs = await loopFilesystem('xfs')
    const names = Array.from({ length: 1000 }, (_, i) => `${i % 20}/${i}`)
    for (const name of names) {
      fs.mkdirSync(`${xfs.path}/${name}`, { recursive: true })
      fs.writeFileSync(`${xfs.path}/${name}/file`, name)
    }
    await using mount = await mounted(xfs.path, { wrapper: ['prlimit', '--nofile=400:400'] })
    for (const name of names) expect(fs.readFileSync(`${mount.path}/${name}/file`, 'utf8')).toBe(name)
  })
})

describeWith(['root', 'loop', 'xfs', 'btrfs', 'fuse'], 'domains', () => {
  test('with --domain dir subvolumes do not share with each other, though all have the same number', async () => {
    await using btrfs = await loopFilesystem('btrfs')
    for (const tenant of ['one', 'two']) run('btrfs', 'subvolume', 'create', `${btrfs.path}/${tenant}`)
    writeSynced(`${btrfs.path}/one/file`, noise(BYTES, 1))
    clone(`${btrfs.path}/one/file`, `${btrfs.path}/one/clone`)
    clone(`${btrfs.path}/one/file`, `${btrfs.path}/two/file`)
    run('sync', '-f', btrfs.path)
    await settle()
    expect(fs.statSync(`${btrfs.path}/one`).ino).toBe(fs.statSync(`${btrfs.path}/two`).ino)
    await using mount = await mounted(btrfs.path, { flags: { domain: 'dir' } })
    for (const name of ['one/file', 'one/clone', 'two/file'])
      expect(fs.readFileSync(`${mount.path}/${name}`).equals(noise(BYTES, 1))).toBe(true)
    expect((await mount.status()).homes.homesMade).toBe(2)
  })

  test('with --domain dir a file that was moved shares with those where it is now, from the next open on', async () => {
    await using xfs = await loopFilesystem('xfs')
    for (const tenant of ['one', 'two']) fs.mkdirSync(`${xfs.path}/${tenant}/below`, { recursive: true })
    writeSynced(`${xfs.path}/one/file`, noise(BYTES, 1))
    for (const name of ['one/below/moved', 'two/file']) clone(`${xfs.path}/one/file`, `${xfs.path}/${name}`)
    run('sync', '-f', xfs.path)
    await settle()
    await using mount = await mounted(xfs.path, { flags: { domain: 'dir', timeout: 0 } })
    const read = (name: string) => fs.readFileSync(`${mount.path}/${name}`).equals(noise(BYTES, 1))
    for (const name of ['one/file', 'one/below/moved', 'two/file']) expect(read(name)).toBe(true)
    const { homes } = await mount.status()
    expect(homes).toMatchObject({ homesMade: 2, nativeBytes: 3 * BYTES })
    // The file itself is not touched: its times do not tell.
    fs.renameSync(`${xfs.path}/one/below`, `${xfs.path}/two/from-one`)
    expect(read('two/from-one/moved')).toBe(true)
    const decided = (await mount.status()).homes
    expect(decided).toMatchObject({ homesMade: 2, pristine: homes.pristine + 1 })
  })
})

describeWith(['root', 'loop', 'xfs', 'fuse', 'cachestat'], 'owners', () => {
  test('share with everybody, unless --domain uid keeps each to himself, also after a file was given away', async () => {
    await using xfs = await loopFilesystem('xfs')
    const owners = { base: 1000, own: 1000, other: 1001, given: 1000 }
    writeSynced(`${xfs.path}/base`, noise(BYTES, 1))
    for (const name of ['own', 'other', 'given']) clone(`${xfs.path}/base`, `${xfs.path}/${name}`)
    for (const [name, uid] of Object.entries(owners)) fs.chownSync(`${xfs.path}/${name}`, uid, uid)
    run('sync', '-f', xfs.path)
    await settle()
    /** Copies in memory after all files have been read: a whole number, but for what the kernel may have taken back since. */
    const copies = async (mount: Mounted) => {
      for (const name of Object.keys(owners))
        expect(fs.readFileSync(`${mount.path}/${name}`).equals(noise(BYTES, 1))).toBe(true)
      const copies = (await mount.status()).homes.cachedBytes / BYTES
      expect(Math.ceil(copies) - copies).toBeLessThan(0.05)
      return Math.ceil(copies)
    }
    {
      await using mount = await mounted(xfs.path)
      expect(await copies(mount)).toBe(1)
    }
    await using mount = await mounted(xfs.path, { flags: { domain: 'uid', timeout: 0 } })
    expect(await copies(mount)).toBe(2)
    fs.chownSync(`${xfs.path}/given`, 1002, 1002)
    await settle()
    // The third owner's home is one of its own.
    expect(await copies(mount)).toBe(3)
    expect((await mount.status()).homes.homesMade).toBe(3)
  })
})
