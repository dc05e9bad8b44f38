/** Homes on real file systems: what one is, that nobody can change it, what it costs, and what fails. */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type HomePlace, type LinuxFile, type LinuxHome, LinuxHomeStorage } from '../../src/homes/linux-home-storage.ts'
import { cloneFile, openUnnamed } from '../../src/linux/clone.ts'
import { ERRNO } from '../../src/linux/errors.ts'
import { close, O_PATH, O_RDONLY, O_RDWR, open, reopen } from '../../src/linux/file.ts'
import { FS_XFLAG, getXflags } from '../../src/linux/file-attributes.ts'
import { HANDLE_ROOM, nameToHandle, openByHandle } from '../../src/linux/handle.ts'
import { openReadOnlyTree } from '../../src/linux/mount-tree.ts'
import { cString } from '../../src/linux/native.ts'
import { ExtentFlag } from '../../src/storage/extents.ts'
import { identifyFilesystem } from '../../src/storage/filesystem.ts'
import { eventually } from '../support/eventually.ts'
import {
  clone,
  extentsOf,
  extentsOfFd,
  freeBytes,
  MEBIBYTE,
  noise,
  overwrite,
  PAGE,
  run,
  stampOf,
  withFd,
  writeFragmented,
  writeScattered,
  writeSynced,
} from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith, testWith } from '../support/requires.ts'

const SIZE = 512 * MEBIBYTE
const ALL = Number.MAX_SAFE_INTEGER

/** A storage for homes in `directory`, and files by path; gives everything back. */
class Rig implements AsyncDisposable {
  readonly place: HomePlace
  readonly storage: LinuxHomeStorage
  readonly #fds: number[] = []
  readonly #homes = new Set<LinuxHome>()

  constructor(directory: string) {
    const directoryFd = this.#keep(open(directory, O_PATH))
    const readOnlyTreeFd = openReadOnlyTree(directoryFd)
    expect(readOnlyTreeFd).toBeGreaterThanOrEqual(0)
    this.place = {
      filesystem: identifyFilesystem(directoryFd),
      directoryFd,
      readOnlyTreeFd: this.#keep(readOnlyTreeFd),
    }
    this.storage = new LinuxHomeStorage(this.place)
  }

  file(path: string): LinuxFile {
    const fd = this.#keep(open(path, O_RDONLY))
    return { key: path, domain: 0, fileSystem: identifyFilesystem(fd).identity, fd }
  }

  async home(path: string): Promise<LinuxHome> {
    const home = await this.storage.createHome(this.file(path))
    this.#homes.add(home)
    return home
  }

  async drop(home: LinuxHome): Promise<void> {
    this.#homes.delete(home)
    await this.storage.dropHome(home)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const home of this.#homes) await this.storage.dropHome(home)
    for (const fd of this.#fds) close(fd)
  }

  #keep(fd: number): number {
    this.#fds.push(fd)
    return fd
  }
}

const openDescriptors = () => fs.readdirSync('/proc/self/fd').length

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(['root', 'loop', kind], `homes on ${kind}`, () => {
    let filesystem: LoopFilesystem
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind, { size: SIZE })
    })
    afterAll(() => filesystem?.[Symbol.asyncDispose]())
    const at = (name: string) => `${filesystem.path}/${name}`

    test('a home has the file’s bytes and addresses, keeps the bytes, and does not touch the file’s stamp', async () => {
      await using rig = new Rig(filesystem.path)
      const bytes = noise(4 * MEBIBYTE + 1234, 1)
      writeSynced(at('file'), bytes)
      const stamp = stampOf(at('file'))
      const home = await rig.home(at('file'))
      expect(stampOf(at('file'))).toBe(stamp)
      expect(home.isWriteProtected).toBe(true)
      expect(fs.readFileSync(home.fd).equals(bytes)).toBe(true)
      const ofHome = await rig.storage.homeExtents(home, 0, ALL)
      expect(ofHome.equals(extentsOf(at('file')))).toBe(true)
      expect(ofHome.shareableBytes()).toBe(Math.ceil(bytes.length / PAGE) * PAGE)
      expect(fs.fstatSync(home.fd)).toMatchObject({ nlink: 0, size: bytes.length, mode: 0o100400 })

      overwrite(at('file'), 0, noise(MEBIBYTE, 2))
      fs.truncateSync(at('file'), 2 * MEBIBYTE)
      fs.unlinkSync(at('file'))
      run('sync', '-f', filesystem.path)
      expect(readAll(home.fd, bytes.length).equals(bytes)).toBe(true)
    })

    test('a dirty file is cloned with its newest bytes', async () => {
      await using rig = new Rig(filesystem.path)
      writeSynced(at('dirty'), noise(MEBIBYTE, 3))
      const newest = noise(MEBIBYTE, 4)
      overwrite(at('dirty'), 0, newest, false)
      const home = await rig.home(at('dirty'))
      expect(fs.readFileSync(home.fd).equals(newest)).toBe(true)
    })

    test('attack: a home opened read-only in the usual way can be opened for writing; ours cannot, on any way', async () => {
      await using rig = new Rig(filesystem.path)
      writeSynced(at('victim'), noise(MEBIBYTE, 5))

      // The usual way, with every protection but the mount: no name, mode 0400, opened O_RDONLY.
      const writableFd = openUnnamed(rig.place.directoryFd, 0o400)
      withFd(at('victim'), (fd) => expect(cloneFile(writableFd, fd)).toBe(0))
      const naive = reopen(writableFd, O_RDONLY)
      close(writableFd)
      const through = reopen(naive, O_RDWR)
      expect(through).toBeGreaterThanOrEqual(0)
      expect(fs.writeSync(through, 'overwritten')).toBe(11)
      close(through)
      expect(fs.readFileSync(naive).subarray(0, 11).toString()).toBe('overwritten')
      close(naive)

      const home = await rig.home(at('victim'))
      const path = `/proc/self/fd/${home.fd}`
      for (const flags of [
        O_RDWR,
        fs.constants.O_WRONLY,
        O_RDWR | fs.constants.O_TRUNC,
        O_RDWR | fs.constants.O_DIRECT,
      ])
        expect(reopen(home.fd, flags), `flags ${flags}`).toBe(-ERRNO.EROFS)
      // This is how the kernel opens a passthrough file, but for the client's flags: through the mount of the descriptor.
      const handle = new Uint8Array(HANDLE_ROOM)
      expect(nameToHandle(home.fd, cString(''), handle)).toBeGreaterThan(8)
      expect(openByHandle(home.fd, handle, O_RDWR)).toBe(-ERRNO.EROFS)
      expect(openByHandle(rig.place.readOnlyTreeFd, handle, O_RDWR)).toBe(-ERRNO.EROFS)
      expect(() => fs.truncateSync(path, 0)).toThrow('EROFS')
      expect(() => fs.chmodSync(path, 0o600)).toThrow('EROFS')
      expect(() => fs.linkSync(path, at('named'))).toThrow(/EXDEV|ENOENT|EROFS/)
      expect(() => fs.writeSync(home.fd, 'x')).toThrow('EBADF')
      expect(fs.readFileSync(home.fd).equals(noise(MEBIBYTE, 5))).toBe(true)
      // And the source is as writable as ever.
      overwrite(at('victim'), 0, noise(PAGE, 6))
    })

    test('the read-only mount is seen nowhere, and takes no part in what is mounted below the source', async () => {
      const mounts = fs.readFileSync('/proc/self/mountinfo', 'utf8')
      fs.mkdirSync(at('below'), { recursive: true })
      run('mount', '-t', 'tmpfs', 'none', at('below'))
      fs.writeFileSync(at('below/file'), 'content')
      try {
        const tree = withFd(filesystem.path, openReadOnlyTree, O_PATH)
        expect(fs.readdirSync(`/proc/self/fd/${tree}/below`)).toEqual([])
        expect(() => fs.writeFileSync(`/proc/self/fd/${tree}/new`, '')).toThrow('EROFS')
        close(tree)
      } finally {
        run('umount', at('below'))
      }
      expect(fs.readFileSync('/proc/self/mountinfo', 'utf8')).toBe(mounts)
    })

    test('a home makes its file’s extents SHARED; dropped, flags and free space are as before', async () => {
      await using rig = new Rig(filesystem.path)
      writeSynced(at('alone'), noise(16 * MEBIBYTE, 7))
      const [free, flags] = [freeBytes(filesystem.path), extentsOf(at('alone')).toArray()]
      expect(extentsOf(at('alone')).shareableBytes()).toBe(0)
      const home = await rig.home(at('alone'))
      expect(extentsOf(at('alone')).shareableBytes()).toBe(16 * MEBIBYTE)
      await rig.drop(home)
      await settled(() => extentsOf(at('alone')).shareableBytes() === 0)
      expect(extentsOf(at('alone')).toArray()).toEqual(flags)
      await settled(() => freeBytes(filesystem.path) === free)
    })

    test('attack: a forgotten home pins every block that its file overwrites; dropping it gives them back', async () => {
      await using rig = new Rig(filesystem.path)
      const scattered = (seed: number) => {
        for (let i = 0; i < 200; i++) overwrite(at('busy'), i * 20 * PAGE, noise(4 * PAGE, seed + i), false)
        run('sync', '-f', filesystem.path)
      }
      writeSynced(at('busy'), noise(16 * MEBIBYTE, 8))
      const free = freeBytes(filesystem.path)
      scattered(1)
      // On XFS an unshared file is overwritten in place; btrfs keeps no more than a little metadata.
      const unshared = free - freeBytes(filesystem.path)
      expect(unshared).toBeLessThan(MEBIBYTE * 4)
      const home = await rig.home(at('busy'))
      scattered(1000)
      const pinned = free - freeBytes(filesystem.path)
      expect(pinned).toBeGreaterThanOrEqual(200 * 4 * PAGE)
      await rig.drop(home)
      await settled(() => free - freeBytes(filesystem.path) < pinned - 150 * 4 * PAGE)
      expect(extentsOf(at('busy')).shareableBytes()).toBe(0)
    })

    test('a failed clone leaves nothing: no descriptor, no block', async () => {
      await using rig = new Rig(filesystem.path)
      writeSynced(at('whole'), noise(MEBIBYTE, 9))
      const directory = open(filesystem.path, O_RDONLY)
      const before = { descriptors: openDescriptors(), free: freeBytes(filesystem.path) }
      const file = { key: 'directory', domain: 0, fileSystem: rig.place.filesystem.identity, fd: directory }
      for (let i = 0; i < 20; i++)
        await expect(rig.storage.createHome(file)).rejects.toMatchObject({ code: 'EISDIR', syscall: 'ioctl FICLONE' })
      expect(openDescriptors()).toBe(before.descriptors)
      close(directory)
      await settled(() => freeBytes(filesystem.path) === before.free)
    })

    test('files of other file systems are refused, not cloned', async () => {
      await using rig = new Rig(filesystem.path)
      const file = rig.file('/dev/shm')
      await expect(rig.storage.extents(file, 0, ALL, 10)).rejects.toMatchObject({ code: 'EOPNOTSUPP' })
      await expect(rig.storage.createHome(file)).rejects.toMatchObject({ code: 'EOPNOTSUPP' })
      // Also when somebody mixed up the names, be it those of two of a kind, where equal addresses would look like equal bytes.
      await using twin = await loopFilesystem(kind, { size: SIZE })
      const other = `/dev/shm/samepage-other-${process.pid}`
      fs.writeFileSync(other, 'content')
      writeSynced(`${twin.path}/other`, noise(MEBIBYTE, 12))
      for (const path of [other, `${twin.path}/other`]) {
        await using files = new Rig(filesystem.path)
        const mixedUp = { ...files.file(path), fileSystem: rig.place.filesystem.identity }
        await expect(rig.storage.extents(mixedUp, 0, ALL, 10), path).rejects.toMatchObject({ code: 'EOPNOTSUPP' })
        await expect(rig.storage.createHome(mixedUp), path).rejects.toMatchObject({ code: 'EOPNOTSUPP' })
        await expect(rig.storage.reuseCounter(mixedUp), path).rejects.toMatchObject({ code: 'EOPNOTSUPP' })
      }
      fs.unlinkSync(other)
    })

    test('a source that is read-only through its mount: EROFS', async () => {
      const view = `${filesystem.directory}/view`
      fs.mkdirSync(view, { recursive: true })
      writeSynced(at('viewed'), noise(MEBIBYTE, 10))
      run('mount', '--bind', filesystem.path, view)
      run('mount', '-o', 'remount,bind,ro', view)
      {
        await using rig = new Rig(view)
        await expect(rig.storage.createHome(rig.file(`${view}/viewed`))).rejects.toMatchObject({ code: 'EROFS' })
      }
      run('umount', view)
    })

    test('ENOSPC is told, and nothing stays behind', async () => {
      // Data and metadata of btrfs from one stock, or the latter is never used up.
      await using full = await (kind === 'xfs'
        ? loopFilesystem(kind, { size: 320 * MEBIBYTE })
        : loopFilesystem(kind, { size: 160 * MEBIBYTE, mkfs: ['--mixed', '-d', 'single'] }))
      await using rig = new Rig(full.path)
      const scattered = `${full.path}/scattered`
      writeScattered(scattered, 8000)
      const file = rig.file(scattered)
      const filler = fs.openSync(`${full.path}/filler`, 'w')
      try {
        for (let size = MEBIBYTE; size >= PAGE; size /= 2) {
          try {
            for (;;) fs.writeSync(filler, noise(size, 1))
          } catch (error) {
            expect((error as { code?: string }).code).toBe('ENOSPC')
          }
        }
        try {
          fs.fsyncSync(filler)
        } catch {
          // Full is full.
        }
        // The file systems keep some room for metadata: use it up as well.
        const homes: LinuxHome[] = []
        let failure: unknown
        for (let i = 0; i < 2000 && failure === undefined; i++) {
          try {
            homes.push(await rig.storage.createHome(file))
          } catch (error) {
            failure = error
          }
        }
        const descriptors = openDescriptors()
        expect(failure, `after ${homes.length} homes`).toMatchObject({ name: 'SystemError', code: 'ENOSPC' })
        await expect(rig.storage.createHome(file)).rejects.toMatchObject({ code: 'ENOSPC' })
        expect(openDescriptors()).toBe(descriptors)
        // Dropping the homes makes room again.
        for (const home of homes) await rig.storage.dropHome(home)
      } finally {
        fs.closeSync(filler)
      }
      fs.unlinkSync(`${full.path}/filler`)
      run('sync', '-f', full.path)
      await rig.home(scattered)
    })

    test('a swap file is refused', async () => {
      await using own = await loopFilesystem(kind, { size: 320 * MEBIBYTE })
      const swap = `${own.path}/swap`
      fs.writeFileSync(swap, '')
      if (kind === 'btrfs') run('chattr', '+C', swap)
      fs.chmodSync(swap, 0o600)
      overwrite(swap, 0, Buffer.alloc(MEBIBYTE))
      run('mkswap', swap)
      await using rig = new Rig(own.path)
      run('swapon', swap)
      try {
        await expect(rig.storage.createHome(rig.file(swap))).rejects.toMatchObject({
          // btrfs looks at nodatacow first.
          code: kind === 'xfs' ? 'ETXTBSY' : expect.stringMatching(/ETXTBSY|EINVAL/),
        })
      } finally {
        run('swapoff', swap)
      }
    })

    test('on a file system that is read-only as a whole the file is its own home', async () => {
      await using own = await loopFilesystem(kind, { size: 320 * MEBIBYTE })
      writeSynced(`${own.path}/file`, noise(MEBIBYTE, 11))
      clone(`${own.path}/file`, `${own.path}/clone`)
      run('mount', '-o', 'remount,ro', own.path)
      run('blockdev', '--setro', own.device)
      {
        await using rig = new Rig(own.path)
        const home = await rig.home(`${own.path}/file`)
        expect(fs.readFileSync(home.fd).equals(noise(MEBIBYTE, 11))).toBe(true)
        expect(fs.fstatSync(home.fd).ino).toBe(fs.statSync(`${own.path}/file`).ino)
        const list = await rig.storage.homeExtents(home, 0, ALL)
        expect(list.equals(extentsOf(`${own.path}/clone`))).toBe(true)
        expect(list.shareableBytes()).toBe(MEBIBYTE)
        // Written again from now on: no more homes of that kind, and none that can be written.
        run('blockdev', '--setrw', own.device)
        run('mount', '-o', 'remount,rw', own.path)
        expect(reopen(home.fd, O_RDWR)).toBe(-ERRNO.EROFS)
        await expect(rig.storage.createHome(rig.file(`${own.path}/file`))).rejects.toMatchObject({ code: 'EAGAIN' })
      }
    })

    test('stamps, extents and limits as Families asks for them', async () => {
      await using rig = new Rig(filesystem.path)
      writeScattered(at('pieces'), 3000)
      const file = rig.file(at('pieces'))
      const stat = fs.statSync(at('pieces'), { bigint: true })
      const stamp = await rig.storage.stamp(file)
      expect(BigInt(stamp.ctimeSec) * 1_000_000_000n + BigInt(stamp.ctimeNsec)).toBe(stat.ctimeNs)
      expect(stamp).toMatchObject({ size: Number(stat.size), nlink: 1 })
      expect((await rig.storage.extents(file, 0, ALL, 3000)).count).toBe(3000)
      // Cut short it would look like a file with a hole.
      await expect(rig.storage.extents(file, 0, ALL, 2999)).rejects.toMatchObject({ code: 'E2BIG' })
      expect((await rig.storage.extents(file, 10 * PAGE, 2 * PAGE, 3000)).toArray()).toMatchObject([
        { logical: 10 * PAGE, length: PAGE },
      ])
      fs.unlinkSync(at('pieces'))
      expect((await rig.storage.stamp(file)).nlink).toBe(0)
      const counter = await rig.storage.reuseCounter(file)
      if (kind === 'xfs') expect(counter).toBe(undefined)
      else expect(counter).toBeGreaterThan(0)
    })

    test('making a home of many extents holds nobody up', async () => {
      await using rig = new Rig(filesystem.path)
      writeScattered(at('many'), 20_000)
      const file = rig.file(at('many'))
      let [longest_ms, last, running] = [0, ownTime_ms(), true]
      const watch = (async () => {
        while (running) {
          await sleep(1)
          longest_ms = Math.max(longest_ms, ownTime_ms() - last)
          last = ownTime_ms()
        }
      })()
      const before = ownTime_ms()
      const home = await rig.storage.createHome(file)
      const list = await rig.storage.homeExtents(home, 0, ALL)
      await rig.storage.dropHome(home)
      const took_ms = ownTime_ms() - before
      running = false
      await watch
      expect(list.count).toBe(20_000)
      // On this thread nothing but decoding of extents happens: much less than the whole.
      expect(longest_ms, `of ${took_ms} ms in all`).toBeLessThan(Math.max(40, took_ms / 3))
    })
  })
}

describeWith(['root', 'loop', 'xfs'], 'homes that stay where they are on XFS', () => {
  testWith(
    ['program:xfs_fsr'],
    'attack: xfs_fsr finds unnamed files and moves them, but leaves homes alone',
    async () => {
      await using filesystem = await loopFilesystem('xfs', { size: SIZE })
      const file = `${filesystem.path}/fragmented`
      const bytes = writeFragmented(file, 64)
      await using rig = new Rig(filesystem.path)
      const unprotected = openUnnamed(rig.place.directoryFd, 0o400)
      withFd(file, (fd) => expect(cloneFile(unprotected, fd)).toBe(0))
      const home = await rig.home(file)
      expect(getXflags(home.fd) & FS_XFLAG.NODEFRAG).not.toBe(0)
      const before = extentsOfFd(home.fd)
      expect(before.count).toBeGreaterThan(32)
      run('sync', '-f', filesystem.path)
      const tidy = () => run('xfs_fsr', '-t', '5', '-p', '2', '-f', `${filesystem.directory}/leftoff`, filesystem.path)
      tidy()
      expect(extentsOfFd(unprotected).count).toBe(1)
      close(unprotected)
      fs.unlinkSync(file)
      run('sync', '-f', filesystem.path)
      // Now the home is the only file that is left to be tidied.
      tidy()
      expect(
        extentsOfFd(home.fd)
          .toArray()
          .map(({ physical }) => physical),
      ).toEqual(before.toArray().map(({ physical }) => physical))
      expect(fs.readFileSync(home.fd).equals(bytes)).toBe(true)
    },
  )
})

describeWith(['root', 'loop', 'btrfs'], 'homes among subvolumes', () => {
  test('one place serves all subvolumes and snapshots, read-only ones included', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE })
    const root = filesystem.path
    run('btrfs', 'subvolume', 'create', `${root}/volume`)
    writeSynced(`${root}/volume/file`, noise(MEBIBYTE, 1))
    run('btrfs', 'subvolume', 'snapshot', '-r', `${root}/volume`, `${root}/snapshot`)
    await using rig = new Rig(root)
    for (const path of [`${root}/volume/file`, `${root}/snapshot/file`]) {
      const home = await rig.home(path)
      expect(home.isWriteProtected).toBe(true)
      expect(reopen(home.fd, O_RDWR)).toBe(-ERRNO.EROFS)
      expect((await rig.storage.homeExtents(home, 0, ALL)).equals(extentsOf(`${root}/volume/file`))).toBe(true)
      expect(fs.readFileSync(home.fd).equals(noise(MEBIBYTE, 1))).toBe(true)
    }
    // Homes do not show up in a snapshot.
    run('btrfs', 'subvolume', 'snapshot', root, `${root}/later`)
    expect(fs.readdirSync(`${root}/later`).sort()).toEqual(['snapshot', 'volume'])
    // A read-only snapshot as the source itself has no room for homes.
    await using inside = new Rig(`${root}/snapshot`)
    await expect(inside.storage.createHome(inside.file(`${root}/snapshot/file`))).rejects.toMatchObject({
      code: 'EROFS',
    })
  })

  test('a nodatacow file has no home: EINVAL', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE })
    const file = `${filesystem.path}/nodatacow`
    fs.writeFileSync(file, '')
    run('chattr', '+C', file)
    overwrite(file, 0, noise(MEBIBYTE, 1))
    await using rig = new Rig(filesystem.path)
    await expect(rig.storage.createHome(rig.file(file))).rejects.toMatchObject({
      name: 'SystemError',
      code: 'EINVAL',
      syscall: 'ioctl FICLONE',
    })
  })

  test('a quota that is used up: EDQUOT', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE })
    const volume = `${filesystem.path}/volume`
    writeSynced(`${filesystem.path}/file`, noise(16 * MEBIBYTE, 1))
    run('btrfs', 'quota', 'enable', filesystem.path)
    run('btrfs', 'subvolume', 'create', volume)
    writeSynced(`${volume}/filler`, noise(4 * MEBIBYTE, 2))
    run('sync', '-f', volume)
    run('btrfs', 'qgroup', 'limit', `${MEBIBYTE}`, volume)
    await using rig = new Rig(volume)
    await expect(rig.storage.createHome(rig.file(`${filesystem.path}/file`))).rejects.toMatchObject({
      name: 'SystemError',
      code: 'EDQUOT',
    })
  })

  test('attack: a balance moves a home; its bytes stay, its old address is somebody else’s; the counter tells', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE })
    const bytes = noise(8 * MEBIBYTE, 3)
    writeSynced(`${filesystem.path}/file`, bytes)
    await using rig = new Rig(filesystem.path)
    const file = rig.file(`${filesystem.path}/file`)
    const home = await rig.home(`${filesystem.path}/file`)
    const before = { extents: extentsOfFd(home.fd).toArray(), counter: await rig.storage.reuseCounter(file) }
    run('btrfs', 'balance', 'start', '-d', filesystem.path)
    const after = extentsOfFd(home.fd)
    expect(after.toArray()).not.toEqual(before.extents)
    expect(await rig.storage.reuseCounter(file)).not.toBe(before.counter)
    // File and home moved together: what is labelled with the home is still right.
    expect(after.equals(extentsOf(`${filesystem.path}/file`))).toBe(true)
    expect(fs.readFileSync(home.fd).equals(bytes)).toBe(true)
  })

  test('a compressed file can be cloned, and shares nothing by address', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE, mount: ['compress-force=zstd'] })
    const bytes = Buffer.alloc(MEBIBYTE, 'compressible ')
    writeSynced(`${filesystem.path}/file`, bytes)
    await using rig = new Rig(filesystem.path)
    const home = await rig.home(`${filesystem.path}/file`)
    const list = await rig.storage.homeExtents(home, 0, ALL)
    expect(list.count).toBeGreaterThan(0)
    expect(list.toArray().every(({ flags }) => (flags & ExtentFlag.ENCODED) !== 0)).toBe(true)
    expect(list.shareableBytes()).toBe(0)
    expect(fs.readFileSync(home.fd).equals(bytes)).toBe(true)
  })
})

function readAll(fd: number, length: number): Buffer {
  const buffer = Buffer.alloc(length)
  expect(fs.readSync(fd, buffer, 0, length, 0)).toBe(length)
  return buffer
}

/** Time that has passed, but for what this thread has spent on waiting for a CPU that others have (/proc/schedstat): a busy machine is not what is meant. */
function ownTime_ms(): number {
  const [, waited_ns] = fs.readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')
  return performance.now() - Number(waited_ns) / 1e6
}

/** File systems free the blocks of removed files a little later. */
const settled = (condition: () => boolean) => eventually(() => expect(condition(), `${condition}`).toBe(true))
