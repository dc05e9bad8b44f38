/** A virtual machine whose disk is a clone on the mount, with image locking: it boots, reads, writes, and shares memory with its like. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { cachedPages } from '../../src/linux/cachestat.ts'
import { clone, forgetCached, MEBIBYTE, PAGE, withFd } from '../support/files.ts'
import { inspectGuestDisk, startGuest, writeGuestDisk } from '../support/guest.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const DATA_BYTES = 32 * MEBIBYTE
const PROGRAMS = ['qemu-system-x86_64', 'qemu-io', 'busybox', 'cpio', 'e2fsck'].map(
  (name) => `program:${name}` as const,
)

describeWith(['root', 'loop', 'fuse', 'xfs', 'guest-kernel', ...PROGRAMS], 'a guest booted from a clone', () => {
  test.each(['none', 'writeback'] as const)('with cache=%s', async (cache) => {
    await using filesystem = await loopFilesystem('xfs')
    const at = (name: string) => `${filesystem.path}/${name}`
    const digest = writeGuestDisk(at('original'), DATA_BYTES)
    for (const name of ['a', 'b']) clone(at('original'), at(name))
    for (const name of ['original', 'a', 'b']) forgetCached(at(name))
    await settle()
    await using mount = await mounted(filesystem.path)

    const guests = ['a', 'b'].map((name) => startGuest(`${mount.path}/${name}`, cache))
    await Promise.all(guests.map(({ booted }) => booted))
    expect(() =>
      execFileSync('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', `${mount.path}/a`], { stdio: 'pipe' }),
    ).toThrow(/lock/)
    const told = await Promise.all(guests.map(({ ended }) => ended))

    const { homes } = await mount.status()
    const own = ['a', 'b'].map((name) => withFd(at(name), cachedPages) * PAGE)
    for (const [i, name] of ['a', 'b'].entries()) {
      const [, read, wrote] = told[i]!
      expect(read).toBe(`read ${digest}`)
      expect(wrote).toMatch(/^wrote [0-9a-f]{64}$/)
      expect(wrote).not.toBe(`wrote ${digest}`)
      for (const place of [filesystem.path, mount.path])
        expect(inspectGuestDisk(`${place}/${name}`), place).toBe(wrote?.replace('wrote ', ''))
    }
    expect(inspectGuestDisk(at('original'))).toBe(digest)
    // What both read is in memory once; of their own they have what they wrote.
    expect(homes.cachedBytes).toBeGreaterThan(DATA_BYTES * 0.9)
    expect(homes.nativeBytes).toBeGreaterThan(1.5 * homes.cachedBytes)
    for (const bytes of own) expect(bytes, JSON.stringify(homes.private)).toBeLessThan(DATA_BYTES / 2)
    expect(fs.readFileSync(at('original')).length).toBe(DATA_BYTES + 48 * MEBIBYTE)
  })
})
