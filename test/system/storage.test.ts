/**
 * What the storage says about real files: extents, and which file system they are on. Each test of the first part pins a rule
 * of the proof of equality to the attack that it answers.
 */
import fs from 'node:fs'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { btrfsGeneration } from '../../src/linux/btrfs.ts'
import { CacheStat } from '../../src/linux/cachestat.ts'
import { cloneRange, dedupeRange } from '../../src/linux/clone.ts'
import { ERRNO } from '../../src/linux/errors.ts'
import { FiemapBuffer } from '../../src/linux/fiemap.ts'
import { O_PATH, O_RDWR } from '../../src/linux/file.ts'
import { HANDLE_ROOM, handleInode, handleSubvolume, nameToHandle } from '../../src/linux/handle.ts'
import { residentPages } from '../../src/linux/mincore.ts'
import { cString } from '../../src/linux/native.ts'
import { type Extent, ExtentFlag, ExtentList, isShareable } from '../../src/storage/extents.ts'
import { identifyFilesystem, whyFileUntrusted } from '../../src/storage/filesystem.ts'
import { readExtents, readExtentsAsync } from '../../src/storage/read-extents.ts'
import {
  clone,
  extentsOf,
  forgetCached,
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

const REFLINK_KINDS = ['xfs', 'btrfs'] as const
const SIZE = 512 * MEBIBYTE

for (const kind of REFLINK_KINDS) {
  describeWith(['root', 'loop', kind], `extents on ${kind}`, () => {
    let filesystem: LoopFilesystem
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind, { size: SIZE })
    })
    afterAll(() => filesystem?.[Symbol.asyncDispose]())
    const at = (name: string) => `${filesystem.path}/${name}`

    test('a clone has the original’s addresses, both are shareable; a written page has its own', () => {
      writeSynced(at('original'), noise(4 * MEBIBYTE, 1))
      const before = extentsOf(at('original'))
      expect(before.shareableBytes()).toBe(0)
      clone(at('original'), at('clone'))
      expect(extentsOf(at('original')).shareableBytes()).toBe(4 * MEBIBYTE)
      expect(extentsOf(at('clone')).equals(extentsOf(at('original')))).toBe(true)
      expect(places(extentsOf(at('clone')))).toEqual(places(before))

      overwrite(at('clone'), MEBIBYTE, noise(PAGE, 2))
      const diverged = extentsOf(at('clone'))
      const own = diverged.indexAt(MEBIBYTE)
      expect(diverged.toArray()[own]).toMatchObject({ logical: MEBIBYTE, length: PAGE })
      expect(isShareable(diverged.flags[own]!)).toBe(false)
      expect(diverged.shareableBytes()).toBe(4 * MEBIBYTE - PAGE)
    })

    test('ranges are clipped at odd offsets, with the address of their first byte', () => {
      writeSynced(at('whole'), noise(MEBIBYTE, 3))
      const whole = extentsOf(at('whole')).toArray()
      fc.assert(
        fc.property(fc.nat(MEBIBYTE + 10_000), fc.nat(300_000), (start, length) => {
          const expected = new ExtentList()
          // A block is the unit of the device: the last one of the file is reported as a whole.
          for (const e of whole) expected.appendClipped(e.logical, e.physical, e.length, e.flags, start, start + length)
          expect(extentsOf(at('whole'), start, length).toArray()).toEqual(expected.toArray())
        }),
        { numRuns: 200 },
      )
    })

    test('more extents than one request asks for; the pool gives the same; a limit is kept', async () => {
      writeScattered(at('scattered'), 5000)
      const fd = fs.openSync(at('scattered'), 'r')
      fs.fsyncSync(fd)
      const list = extentsOf(at('scattered'))
      expect(list.count).toBe(5000)
      const async = new ExtentList()
      expect(await readExtentsAsync(fd, 0, Number.MAX_SAFE_INTEGER, async)).toBe(5000)
      expect(async.toArray()).toEqual(list.toArray())
      for (const limit of [0, 100, 2048, 4999]) {
        expect(await readExtentsAsync(fd, 0, Number.MAX_SAFE_INTEGER, async, limit)).toBe(-ERRNO.E2BIG)
        expect(async.count).toBeGreaterThan(limit)
        expect(readExtents(fd, 0, Number.MAX_SAFE_INTEGER, async, limit)).toBe(-ERRNO.E2BIG)
      }
      expect(readExtents(fd, 0, Number.MAX_SAFE_INTEGER, async, 5000)).toBe(5000)
      fs.closeSync(fd)
    })

    test('several lists at once on the pool do not mix', async () => {
      const names = Array.from({ length: 12 }, (_, i) => at(`concurrent${i}`))
      for (const [i, name] of names.entries()) writeScattered(name, 50 + 300 * (i % 3), i)
      const expected = names.map((name) => extentsOf(name).toArray())
      const fds = names.map((name) => fs.openSync(name, 'r'))
      const lists = await Promise.all(
        fds.map(async (fd) => {
          const list = new ExtentList()
          await readExtentsAsync(fd, 0, Number.MAX_SAFE_INTEGER, list)
          return list.toArray()
        }),
      )
      for (const fd of fds) fs.closeSync(fd)
      expect(lists).toEqual(expected)
    })

    testWith(['program:filefrag'], 'random layouts agree with filefrag', () => {
      const blocks = 64
      const step = fc.record({
        operation: fc.constantFrom('write', 'write', 'punch', 'allocate', 'cloneRange'),
        block: fc.nat(blocks - 1),
        count: fc.integer({ min: 1, max: 16 }),
        to: fc.nat(blocks - 1),
      })
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
          const file = at('random')
          fs.writeFileSync(file, '')
          for (const [i, { operation, block, count, to }] of steps.entries()) {
            const [offset, length] = [block * PAGE, count * PAGE]
            if (operation === 'write') overwrite(file, offset, noise(length, i))
            else if (operation === 'punch')
              run('fallocate', '--punch-hole', '--keep-size', '-o', `${offset}`, '-l', `${length}`, file)
            else if (operation === 'allocate')
              run('fallocate', '--keep-size', '-o', `${offset}`, '-l', `${length}`, file)
            else withFd(file, (fd) => cloneRange(fd, to * PAGE, fd, offset, length), O_RDWR)
          }
          expect(extentsOf(file).toArray()).toEqual(filefrag(file))
        }),
        { numRuns: 25 },
      )
    })

    test('attack: without SYNC, a dirty page of a clone is reported at the shared block it is about to leave', () => {
      writeSynced(at('a'), noise(MEBIBYTE, 4))
      clone(at('a'), at('b'))
      const shared = extentsOf(at('a')).toArray()
      overwrite(at('b'), 0, noise(MEBIBYTE, 5), false)
      withFd(at('b'), (fd) => {
        const buffer = new FiemapBuffer()
        expect(buffer.map(fd, 0, MEBIBYTE, false)).toBeGreaterThan(0)
        // Other bytes, the old address, and SHARED: a proof by these would serve a's bytes for b.
        expect(buffer.physical(0)).toBe(shared[0]!.physical)
        expect(isShareable(buffer.flags(0))).toBe(true)
      })
      const synced = extentsOf(at('b'))
      expect(synced.shareableBytes()).toBe(0)
      expect(lieOn(synced, shared), `${synced}`).toBe(false)
    })

    test('attack: data without a place yet is never shareable', () => {
      fs.writeFileSync(at('fresh'), noise(MEBIBYTE, 6))
      withFd(at('fresh'), (fd) => {
        const buffer = new FiemapBuffer()
        expect(buffer.map(fd, 0, MEBIBYTE, false)).toBeGreaterThan(0)
        expect(buffer.flags(0) & ExtentFlag.DELALLOC).not.toBe(0)
        expect(isShareable(buffer.flags(0) | ExtentFlag.SHARED)).toBe(false)
      })
    })

    test('attack: allocated but unwritten blocks hold old bytes and read as zeros; they are never shareable', () => {
      run('fallocate', '-l', `${MEBIBYTE}`, at('unwritten'))
      overwrite(at('unwritten'), 0, noise(PAGE, 7))
      clone(at('unwritten'), at('unwritten-clone'))
      for (const name of ['unwritten', 'unwritten-clone']) {
        const list = extentsOf(at(name))
        // A clone may get a hole instead.
        expect(list.shareableBytes()).toBe(PAGE)
        expect(
          fs
            .readFileSync(at(name))
            .subarray(PAGE)
            .every((byte) => byte === 0),
        ).toBe(true)
      }
      expect(extentsOf(at('unwritten')).toArray().at(-1)!.flags & ExtentFlag.UNWRITTEN).not.toBe(0)
    })

    test('attack: dedupe moves a file’s blocks under the same stamp, and the freed block gets other bytes', async () => {
      // Of its own, so that nobody else takes the freed block first.
      await using own = await loopFilesystem(kind, { size: 320 * MEBIBYTE })
      const [moved, keeper] = [`${own.path}/moved`, `${own.path}/keeper`]
      const bytes = noise(MEBIBYTE, 8)
      writeSynced(keeper, bytes)
      writeSynced(moved, bytes)
      const remembered = { stamp: stampOf(moved), extents: extentsOf(moved).toArray() }
      withFd(moved, (target) =>
        withFd(keeper, (source) => expect(dedupeRange(target, 0, source, 0, MEBIBYTE)).toBe(MEBIBYTE)),
      )
      expect(places(extentsOf(moved))).toEqual(places(extentsOf(keeper)))
      expectReused(own, remembered.extents)
      // Who remembered the address by the stamp would now serve the squatter's bytes as this file's.
      expect(stampOf(moved)).toBe(remembered.stamp)
      forgetCached(moved)
      expect(fs.readFileSync(moved).equals(bytes)).toBe(true)
    })

    test('which pages are cached, after some were read', ({ skip }) => {
      writeSynced(at('read'), noise(4 * MEBIBYTE, 9))
      forgetCached(at('read'))
      withFd(at('read'), (fd) => {
        const pages = new Uint8Array(1024)
        expect(residentPages(fd, 0, 4 * MEBIBYTE, pages)).toBe(0)
        run('dd', `if=${at('read')}`, 'of=/dev/null', 'bs=4k', 'count=1', 'skip=512', 'status=none')
        const cached = residentPages(fd, 0, 4 * MEBIBYTE, pages)
        expect(cached).toBeGreaterThanOrEqual(1)
        expect(pages[512]).toBe(1)
        const stat = new CacheStat()
        if (stat.read(fd) < 0) skip('no cachestat')
        expect(stat.cached).toBe(cached)
      })
    })

    test('handles carry the inode number and the subvolume', () => {
      fs.writeFileSync(at('handled'), 'content')
      const handle = new Uint8Array(HANDLE_ROOM)
      withFd(filesystem.path, (fd) => expect(nameToHandle(fd, cString('handled'), handle)).toBeGreaterThan(8))
      expect(handleInode(handle)).toBe(fs.statSync(at('handled')).ino)
      expect(handleSubvolume(handle)).toBe(kind === 'btrfs' ? 5 : 0)
    })
  })
}

describeWith(['root', 'loop', 'xfs'], 'blocks that move on XFS', () => {
  testWith(
    ['program:xfs_fsr'],
    'attack: xfs_fsr moves a file under the same size and content, and only FIEMAP tells',
    async () => {
      await using filesystem = await loopFilesystem('xfs', { size: SIZE })
      const file = `${filesystem.path}/fragmented`
      const bytes = writeFragmented(file, 64)
      const before = extentsOf(file)
      expect(before.count).toBeGreaterThan(32)
      const stamp = stampOf(file)
      run('xfs_fsr', '-v', file)
      const after = extentsOf(file)
      expect(after.count).toBeLessThan(before.count / 4)
      expect(stampOf(file)).toBe(stamp)
      expectReused(filesystem, before.toArray())
      forgetCached(file)
      expect(fs.readFileSync(file).equals(bytes)).toBe(true)
    },
  )
})

describeWith(['root', 'loop', 'btrfs'], 'blocks that move on btrfs', () => {
  for (const [name, move] of [
    ['defragmentation', (_: LoopFilesystem, file: string) => run('btrfs', 'filesystem', 'defragment', '-f', file)],
    ['balance', (filesystem: LoopFilesystem) => run('btrfs', 'balance', 'start', '-d', filesystem.path)],
  ] as const) {
    test(`attack: ${name} moves a file under the same stamp, and the freed blocks get other bytes`, async () => {
      await using filesystem = await loopFilesystem('btrfs', { size: SIZE })
      const file = `${filesystem.path}/fragmented`
      const bytes = writeFragmented(file, 64)
      const before = extentsOf(file).toArray()
      const stamp = stampOf(file)
      move(filesystem, file)
      run('sync', '-f', filesystem.path)
      const after = extentsOf(file)
      expect(lieOn(after, before), `${after}`).toBe(false)
      expect(stampOf(file)).toBe(stamp)
      // A balance gives the address range up for good; a defragmented file's blocks are soon somebody else's.
      if (name === 'defragmentation') expectReused(filesystem, before)
      forgetCached(file)
      expect(fs.readFileSync(file).equals(bytes)).toBe(true)
    })
  }

  test('freed blocks are not reused before the generation has changed', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: 256 * MEBIBYTE, mount: ['commit=300'] })
    const victim = `${filesystem.path}/victim`
    const counter = () => withFd(filesystem.path, btrfsGeneration)
    let reuses = 0
    for (let round = 0; round < 60 && reuses < 5; round++) {
      writeSynced(victim, noise(4 * MEBIBYTE, round))
      const old = extentsOf(victim).toArray()
      const before = counter()
      expect(before).toBeGreaterThan(0)
      fs.truncateSync(victim, 0)
      for (let i = 0; i < 8; i++) {
        const squatter = `${filesystem.path}/squatter${i}`
        // Without fsync: that may end the transaction. FIEMAP with SYNC places the data just so.
        fs.writeFileSync(squatter, noise(4 * MEBIBYTE, 1000 + i))
        if (lieOn(extentsOf(squatter), old)) {
          reuses++
          expect(counter()).not.toBe(before)
        }
        if (i % 4 === 3) run('sync', '-f', filesystem.path)
      }
      for (let i = 0; i < 8; i++) fs.unlinkSync(`${filesystem.path}/squatter${i}`)
    }
    expect(reuses).toBeGreaterThan(0)
  })

  test('attack: inline data has no block of its own', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE })
    writeSynced(`${filesystem.path}/inline`, noise(1000, 1))
    const list = extentsOf(`${filesystem.path}/inline`)
    expect(list.count).toBe(1)
    expect(list.flags[0]! & ExtentFlag.INLINE).not.toBe(0)
    expect(isShareable(list.flags[0]! | ExtentFlag.SHARED)).toBe(false)
  })

  test('attack: compressed blocks are equal where bytes are not', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE, mount: ['compress-force=zstd'] })
    const file = `${filesystem.path}/compressed`
    writeSynced(file, Buffer.alloc(MEBIBYTE, 'compressible '))
    clone(file, `${file}-clone`)
    const list = extentsOf(file)
    expect(list.count).toBeGreaterThan(1)
    for (const { flags } of list.toArray()) {
      expect(flags & ExtentFlag.ENCODED).not.toBe(0)
      expect(flags & ExtentFlag.SHARED).not.toBe(0)
    }
    expect(list.shareableBytes()).toBe(0)
    // One address, several ranges of the file.
    const middle = extentsOf(file, 2 * PAGE, PAGE)
    expect(middle.toArray()).toMatchObject([{ logical: 2 * PAGE, physical: list.physical[0], length: PAGE }])
  })
})

describeWith(['root', 'loop', 'xfs', 'btrfs', 'ext4'], 'identity and trust', () => {
  const identify = (path: string, flags?: number) => withFd(path, identifyFilesystem, flags)

  test('btrfs: one identity for all subvolumes and snapshots, though st_dev differs', async () => {
    await using filesystem = await loopFilesystem('btrfs', { size: SIZE })
    const root = filesystem.path
    run('btrfs', 'subvolume', 'create', `${root}/volume`)
    writeSynced(`${root}/volume/file`, noise(MEBIBYTE, 1))
    run('btrfs', 'subvolume', 'snapshot', '-r', `${root}/volume`, `${root}/snapshot`)
    const paths = [root, `${root}/volume`, `${root}/volume/file`, `${root}/snapshot/file`]
    const identities = paths.map((path) => identify(path))
    expect(new Set(identities.map((found) => found.identity)).size).toBe(1)
    expect(new Set(paths.slice(1).map((path) => fs.statSync(path).dev)).size).toBe(2)
    expect(identities[0]).toMatchObject({
      kind: 'btrfs',
      hasReflinks: true,
      hasTrustedAddresses: true,
      canShare: true,
      reason: '',
      isFrozen: false,
      blockSize: 4096,
    })
    expect(identities[0]!.uuid).toBe(
      run('blkid', '-s', 'UUID', '-o', 'value', filesystem.device).trim().replaceAll('-', ''),
    )
    // Through O_PATH, and through another mount of a subvolume.
    expect(identify(root, O_PATH)).toEqual(identities[0])
    const other = `${filesystem.directory}/other`
    fs.mkdirSync(other)
    run('mount', '-o', 'subvol=snapshot', filesystem.device, other)
    expect(identify(`${other}/file`).identity).toBe(identities[0]!.identity)

    // The addresses mean the same in all of them.
    expect(extentsOf(`${root}/snapshot/file`).equals(extentsOf(`${root}/volume/file`))).toBe(true)
  })

  test('XFS: copies of an image have one UUID and are still told apart', async () => {
    await using filesystem = await loopFilesystem('xfs', { size: SIZE })
    writeSynced(`${filesystem.path}/file`, noise(MEBIBYTE, 1))
    await filesystem.unmount()
    const copy = `${filesystem.directory}/copy`
    fs.copyFileSync(filesystem.image, `${copy}.image`)
    fs.mkdirSync(copy)
    await filesystem.mount()
    run('mount', '-o', 'loop,nouuid', `${copy}.image`, copy)
    const [one, other] = [identify(filesystem.path), identify(copy)]
    expect(one.uuid).toBe(other.uuid)
    expect(one.uuid).toMatch(/^[0-9a-f]{32}$/)
    expect(one.identity).not.toBe(other.identity)
    expect(one.canShare && other.canShare).toBe(true)
    // This is what would happen if they were not: equal addresses, different files.
    overwrite(`${copy}/file`, 0, noise(MEBIBYTE, 2))
    expect(places(extentsOf(`${copy}/file`))).toEqual(places(extentsOf(`${filesystem.path}/file`)))
  })

  test('read-only for good is frozen, read-only through one mount or until the next one is not', async () => {
    await using filesystem = await loopFilesystem('xfs', { size: SIZE })
    const view = `${filesystem.directory}/view`
    fs.mkdirSync(view)
    run('mount', '--bind', filesystem.path, view)
    run('mount', '-o', 'remount,bind,ro', view)
    expect(identify(view)).toMatchObject({ isReadOnly: true, isFrozen: false, canShare: false })
    expect(identify(view).reason).toContain('read-only')
    expect(identify(filesystem.path)).toMatchObject({ isReadOnly: false, isFrozen: false, canShare: true })
    expect(identify(view).identity).toBe(identify(filesystem.path).identity)
    run('umount', view)
    // One command makes it writable again, while its files are homes: then one file's bytes would show in another.
    run('mount', '-o', 'remount,ro', filesystem.path)
    expect(identify(filesystem.path)).toMatchObject({ isReadOnly: true, isFrozen: false, canShare: false })
    await filesystem.unmount()
    await filesystem.mount(['ro'])
    expect(identify(filesystem.path)).toMatchObject({ isReadOnly: true, isFrozen: true, canShare: true })
    expect(() => run('mount', '-o', 'remount,rw', filesystem.path)).toThrow(/read-only|protected/)
  })

  test('ext4, tmpfs, overlayfs and XFS without reflinks are not trusted, and say why', async () => {
    await using ext4 = await loopFilesystem('ext4', { size: SIZE })
    await using xfs = await loopFilesystem('xfs', { size: SIZE, mkfs: ['-m', 'reflink=0'] })
    await using lower = await loopFilesystem('btrfs', { size: SIZE })
    for (const name of ['lower', 'upper', 'work']) fs.mkdirSync(`${lower.path}/${name}`)
    writeSynced(`${lower.path}/lower/file`, noise(MEBIBYTE, 1))
    const overlay = `${lower.directory}/overlay`
    fs.mkdirSync(overlay)
    const layers = ['lower', 'upper', 'work'].map((name) => `${name}dir=${lower.path}/${name}`).join(',')
    run('mount', '-t', 'overlay', '-o', layers, 'overlay', overlay)
    for (const [path, kind, word] of [
      [ext4.path, 'ext4', 'reflinks'],
      ['/dev/shm', 'tmpfs', 'memory'],
      [overlay, 'overlay', 'overlayfs'],
      [`${overlay}/file`, 'overlay', 'overlayfs'],
      [xfs.path, 'xfs', 'reflink=1'],
      ['/proc', 'proc', 'trust'],
    ] as const) {
      const found = identify(path)
      expect(found.kind, path).toBe(kind)
      expect(found.canShare, path).toBe(false)
      expect(found.reason, path).toContain(word)
    }
    // Overlayfs passes FIEMAP on: the addresses look fine, and are those of another file system.
    expect(extentsOf(`${overlay}/file`).count).toBeGreaterThan(0)
    withFd(`${overlay}/file`, (fd) => expect(whyFileUntrusted(fd, identify(overlay))).toContain('overlayfs'))
    run('umount', overlay)
  })
})

describeWith(['root', 'loop', 'xfs', 'xfs-realtime'], 'realtime files of XFS', () => {
  test('attack: addresses on an XFS realtime device count from zero again', async () => {
    await using data = await loopFilesystem('xfs', { size: SIZE })
    const realtime = `${data.directory}/realtime`
    fs.writeFileSync(realtime, '')
    fs.truncateSync(realtime, SIZE)
    const mountpoint = `${data.directory}/with-realtime`
    fs.mkdirSync(mountpoint)
    await data.unmount()
    const devices = [data.image, realtime].map((image) => run('losetup', '--find', '--show', image).trim())
    try {
      run('mkfs.xfs', '-q', '-f', '-m', 'reflink=0', '-r', `rtdev=${devices[1]}`, devices[0]!)
      run('mount', '-o', `rtdev=${devices[1]}`, devices[0]!, mountpoint)
      run('xfs_io', '-f', '-c', 'chattr +r', '-c', 'pwrite 0 1m', '-c', 'fsync', `${mountpoint}/file`)
      const trusted = { ...withFd(mountpoint, identifyFilesystem), hasTrustedAddresses: true }
      withFd(`${mountpoint}/file`, (fd) => expect(whyFileUntrusted(fd, trusted)).toContain('realtime'))
      fs.writeFileSync(`${mountpoint}/ordinary`, 'x')
      withFd(`${mountpoint}/ordinary`, (fd) => expect(whyFileUntrusted(fd, trusted)).toBe(undefined))
      run('umount', mountpoint)
    } finally {
      for (const device of devices) run('losetup', '--detach', device)
    }
  })
})

/** Addresses without flags. */
function places(list: ExtentList): Omit<Extent, 'flags'>[] {
  return ExtentList.from(list.toArray().map((extent) => ({ ...extent, flags: 0 })))
    .toArray()
    .map(({ logical, physical, length }) => ({ logical, physical, length }))
}

/** Does any extent of the list lie, be it in part, on one of `places`? */
function lieOn(list: ExtentList, places: Extent[]): boolean {
  return list
    .toArray()
    .some((extent) =>
      places.some(
        (place) => extent.physical < place.physical + place.length && place.physical < extent.physical + extent.length,
      ),
    )
}

/** Fills the file system with other files until one of them lies on one of the `freed` extents, then removes them. */
function expectReused(filesystem: LoopFilesystem, freed: Extent[]): void {
  const squatters: string[] = []
  try {
    // Near the end only small files fit, and parts of files.
    for (const size of [8 * MEBIBYTE, MEBIBYTE, 16 * PAGE, PAGE]) {
      for (let full = false; !full; ) {
        const squatter = `${filesystem.path}/squatter${squatters.length}`
        squatters.push(squatter)
        try {
          writeSynced(squatter, noise(size, 77))
        } catch (error) {
          if ((error as { code?: string }).code !== 'ENOSPC') throw error
          full = true
        }
        if (fs.existsSync(squatter) && lieOn(extentsOf(squatter), freed)) return
        if (size > MEBIBYTE) run('sync', '-f', filesystem.path)
      }
    }
    throw new Error('the freed blocks were never used again')
  } finally {
    for (const squatter of squatters) fs.rmSync(squatter, { force: true })
    run('sync', '-f', filesystem.path)
  }
}

/** What filefrag says, merged by our rules. */
function filefrag(file: string): Extent[] {
  const list = new ExtentList()
  for (const line of run('filefrag', '-v', '-e', '-b1', '-s', file).split('\n')) {
    const match = /^\s*\d+:\s+(\d+)\.\.\s*\d+:\s+(\d+)\.\.\s*\d+:\s+(\d+):.*?([a-z_,]*)$/.exec(line)
    if (match === null) continue
    const flags = match[4]!.split(',')
    list.append(
      Number(match[1]),
      Number(match[2]),
      Number(match[3]),
      (flags.includes('shared') ? ExtentFlag.SHARED : 0) | (flags.includes('unwritten') ? ExtentFlag.UNWRITTEN : 0),
    )
  }
  return list.toArray()
}
