/**
 * `samepage dedupe` on real file systems: what the dry run says is saved is saved, and no byte of any file changes, whatever files there are, whoever writes meanwhile, and
 * whenever it is interrupted.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dedupe as dedupePaths } from '../../src/dedupe/dedupe.ts'
import { fadvise, POSIX_FADV_RANDOM } from '../../src/linux/file.ts'
import { isShareable } from '../../src/storage/extents.ts'
import {
  clone,
  extentsOf,
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
import { mounted, PROGRAM } from '../support/mounted.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'
import { settle } from '../support/settled.ts'

const SEED = Number(process.env.SAMEPAGE_SEED ?? Date.now() % 1e6)

interface Report {
  readonly plan: { readonly bytes: number; readonly runs: number; readonly files: number; readonly savedBytes: number }
  readonly applied: {
    readonly runs: number
    readonly sharedBytes: number
    readonly savedBytes: number
    readonly differentBytes: number
    readonly busyBytes: number
    readonly failures: readonly unknown[]
    readonly isInterrupted: boolean
  } | null
  readonly files: Readonly<Record<string, number>>
}

/** What `samepage dedupe --json` says. */
function dedupe(...args: string[]): Report {
  const { status, stdout, stderr } = samepage(['dedupe', '--json', ...args])
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return JSON.parse(stdout)
}

function namesBelow(directory: string): string[] {
  return fs
    .readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => fs.statSync(path.join(directory, name)).isFile())
    .sort()
}

/** Content and attributes of all files below a directory. */
function stateOf(directory: string): string[] {
  return namesBelow(directory).map((name) => {
    const file = path.join(directory, name)
    const { size, mode, uid, gid, mtimeNs, ctimeNs } = fs.statSync(file, { bigint: true })
    const digest = createHash('sha256').update(fs.readFileSync(file)).digest('hex')
    return [name, size, mode, uid, gid, mtimeNs, ctimeNs, digest].join(' ')
  })
}

/** How many pages of files below a directory lie at each address of the device, and whether the file system calls the place shared. */
function storedPages(directory: string): Map<number, { users: number; isShared: boolean }> {
  const pages = new Map<number, { users: number; isShared: boolean }>()
  for (const name of namesBelow(directory)) {
    const { count, physical, length, flags } = extentsOf(path.join(directory, name))
    for (let i = 0; i < count; i++)
      for (let at = 0; at < length[i]!; at += PAGE) {
        const users = pages.get(physical[i]! + at)?.users ?? 0
        pages.set(physical[i]! + at, { users: users + 1, isShared: isShareable(flags[i]!) })
      }
  }
  return pages
}

/** Bytes of the device that files below a directory use, each once. */
function storedBytes(directory: string): number {
  return storedPages(directory).size * PAGE
}

/** Files of stretches of a few contents at any page, holes, zeros, clones, and ends within a page. */
function writeRandom(directory: string, random: Random): void {
  const contents = Array.from({ length: 3 }, (_, i) => noise(MEBIBYTE, 100 * SEED + i))
  const count = random.between(3, 7)
  for (let file = 0; file < count; file++) {
    const name = path.join(directory, `f${file}`)
    if (file > 0 && random.below(5) === 0) clone(path.join(directory, `f${random.below(file)}`), name)
    else writeSynced(name, Buffer.alloc(0))
    let at = PAGE * random.below(20)
    for (let piece = random.between(1, 5); piece > 0; piece--) {
      const bytes = PAGE * random.between(1, 100)
      const kind = random.below(10)
      const from = PAGE * random.below(100)
      if (kind === 0) at += bytes
      else if (kind === 1) overwrite(name, at, Buffer.alloc(bytes), false)
      else if (kind === 2) overwrite(name, at, noise(bytes, SEED + 1000 * file + piece), false)
      else overwrite(name, at, random.pick(contents).subarray(from, from + bytes), false)
      if (kind > 0) at += bytes
    }
    if (random.below(3) === 0) fs.truncateSync(name, Math.max(1, fs.statSync(name).size - random.below(PAGE)))
    if (random.below(4) === 0) overwrite(name, at, random.pick(contents).subarray(0, random.below(PAGE)), false)
  }
  run('sync', '-f', directory)
}

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', kind], `dedupe on ${kind}`, () => {
    let filesystem: LoopFilesystem
    let tree = ''
    let trees = 0
    const at = (name: string) => path.join(tree, name)
    const newTree = () => {
      tree = path.join(filesystem.path, `tree${trees++}`)
      fs.mkdirSync(tree)
    }

    beforeAll(async () => {
      filesystem = await loopFilesystem(kind, { size: 2 * 2 ** 30 })
    })
    afterAll(async () => {
      await filesystem?.[Symbol.asyncDispose]()
    })

    for (let round = 0; round < 4; round++)
      test(`random files: what was claimed is saved, and no byte changes (seed ${SEED}, round ${round})`, () => {
        newTree()
        writeRandom(tree, new Random(SEED + 7919 * round))
        const minRun = `${[4, 8, 64, 64][round]}KiB`
        const before = { state: stateOf(tree), stored: storedBytes(tree) }
        const dry = dedupe('--min-run', minRun, tree)
        // btrfs calls an extent shared as a whole. What of it only one file uses is not claimed: whether an unknown file uses it too cannot be told.
        const unclaimed = [...storedPages(tree).values()].filter(({ users, isShared }) => isShared && users === 1)
        if (kind === 'xfs') expect(unclaimed).toEqual([])
        expect(dry.applied).toBeNull()
        expect({ state: stateOf(tree), stored: storedBytes(tree) }).toEqual(before)

        const { plan, applied } = dedupe('--apply', '--min-run', minRun, tree)
        expect(plan).toEqual(dry.plan)
        expect(applied).toMatchObject({ savedBytes: plan.savedBytes, differentBytes: 0, busyBytes: 0, failures: [] })
        expect(stateOf(tree)).toEqual(before.state)
        run('sync', '-f', tree)
        const saved = before.stored - storedBytes(tree)
        expect(saved).toBeGreaterThanOrEqual(plan.savedBytes)
        expect(saved).toBeLessThanOrEqual(plan.savedBytes + unclaimed.length * PAGE)
      })

    test('copies that were deduped are held in memory once through a mount, without a scan', async () => {
      newTree()
      const bytes = 8 * MEBIBYTE + 100
      const pages = Math.ceil(bytes / PAGE)
      const content = {
        original: noise(bytes, 1),
        copy: noise(bytes, 1),
        // From its second page on, behind 7 pages of something else.
        moved: Buffer.concat([noise(7 * PAGE, 2), noise(bytes, 1).subarray(PAGE)]),
      }
      for (const [name, held] of Object.entries(content)) writeSynced(at(name), held)
      const before = stateOf(tree)
      const { applied } = dedupe('--apply', tree)
      expect(applied).toMatchObject({ runs: 2, savedBytes: (2 * pages - 1) * PAGE })
      expect(dedupe(tree).plan.savedBytes).toBe(0)
      expect(stateOf(tree)).toEqual(before)

      await filesystem.unmount()
      await filesystem.mount()
      await settle()
      await using mount = await mounted(tree)
      const read = filesystem.bytesRead()
      for (const [name, held] of Object.entries(content))
        expect(fs.readFileSync(`${mount.path}/${name}`).equals(held), name).toBe(true)
      // The content, the seven pages before it in one file, and what readahead of own pages takes.
      const { homes } = await mount.status()
      const held =
        homes.cachedBytes / PAGE + residentIn(at('original')) + residentIn(at('copy')) + residentIn(at('moved'))
      expect(held).toBeGreaterThanOrEqual(pages + 7)
      expect(held).toBeLessThanOrEqual(pages + 7 + 32)
      expect(filesystem.bytesRead() - read).toBeLessThan(bytes * 1.1 + 2 * MEBIBYTE)
    })

    test('reading to compare leaves nothing in memory that was not there', () => {
      newTree()
      for (const name of ['original', 'copy']) writeSynced(at(name), noise(4 * MEBIBYTE, 1))
      fs.writeFileSync('/proc/sys/vm/drop_caches', '3')
      withFd(at('original'), (fd) => {
        // Else more would come into memory later, ahead of a reader who reads no further.
        fadvise(fd, 0, 0, POSIX_FADV_RANDOM)
        fs.readSync(fd, Buffer.alloc(MEBIBYTE), 0, MEBIBYTE, 0)
      })
      const resident = residentIn(at('original'))
      dedupe('--apply', tree)
      expect(residentIn(at('original'))).toBeLessThanOrEqual(resident)
      expect(residentIn(at('copy'))).toBe(0)
    })

    test('nor does what another reader has made the kernel read ahead, once the comparing meets its mark', () => {
      newTree()
      writeSynced(at('original'), noise(24 * MEBIBYTE, 1))
      fs.writeFileSync('/proc/sys/vm/drop_caches', '3')
      const fd = fs.openSync(at('original'), 'r')
      try {
        for (let read = 0; read < 8; read++) fs.readSync(fd, Buffer.alloc(MEBIBYTE))
      } finally {
        fs.closeSync(fd)
      }
      // Until what is on its way has come.
      let resident = residentIn(at('original'))
      for (let before = -1; before !== resident; resident = residentIn(at('original'))) {
        before = resident
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
      }
      expect(resident).toBeLessThan(6144)
      dedupe(tree)
      expect(residentIn(at('original'))).toBeLessThanOrEqual(resident)
    })

    test('interrupted in the middle: tells what was done, leaves every byte, and goes on the next time', async () => {
      newTree()
      // Equal runs with something else between them: a thousand calls of the kernel.
      for (let copy = 0; copy < 5; copy++) {
        const bytes = Buffer.from(noise(16 * MEBIBYTE, 1))
        for (let offset = copy * PAGE; offset < bytes.length; offset += 18 * PAGE)
          noise(PAGE, 1000 * copy + offset).copy(bytes, offset)
        writeSynced(at(`copy${copy}`), bytes)
      }
      const before = { state: stateOf(tree), stored: storedBytes(tree) }
      const child = spawn(process.execPath, [PROGRAM, 'dedupe', '--json', '--apply', '--min-run', '4KiB', tree])
      let output = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
      const closed = once(child, 'close')
      const hasShared = () => extentsOf(at('copy1')).shareableBytes() > 0
      while (child.exitCode === null && !hasShared()) await sleep(5)
      child.kill('SIGINT')
      const [status] = await closed
      expect(status).toBe(130)
      const { plan, applied } = JSON.parse(output) as Report
      expect(applied?.isInterrupted).toBe(true)
      expect(applied!.savedBytes).toBeGreaterThan(0)
      expect(applied!.savedBytes).toBeLessThan(plan.savedBytes)
      expect(stateOf(tree)).toEqual(before.state)
      expect(before.stored - storedBytes(tree)).toBe(applied!.savedBytes)

      const rest = dedupe('--apply', '--min-run', '4KiB', tree)
      expect(rest.applied!.savedBytes + applied!.savedBytes).toBe(plan.savedBytes)
      expect(stateOf(tree)).toEqual(before.state)
    })

    test(`attack: who writes while it runs finds what he wrote (seed ${SEED})`, async () => {
      newTree()
      const random = new Random(SEED)
      const contents = Array.from({ length: 4 }, (_, i) => noise(2 * MEBIBYTE, i + 1))
      const names = ['a', 'b', 'c', 'd']
      const written = new Map(names.map((name) => [name, Buffer.from(contents[0]!)]))
      for (const [name, bytes] of written) writeSynced(at(name), bytes)
      let shared = 0
      for (let round = 0; round < 4; round++) {
        const child = spawn(process.execPath, [PROGRAM, 'dedupe', '--json', '--apply', '--min-run', '4KiB', tree])
        let output = ''
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          output += text
        })
        const closed = once(child, 'close')
        while (child.exitCode === null) {
          // Mostly equal content again, so that there is something to share; opened anew each time, so that not all is left alone.
          const name = random.pick(names)
          const offset = PAGE * random.below(500) + (random.below(4) === 0 ? random.below(PAGE) : 0)
          const bytes = random.pick(contents).subarray(offset, offset + PAGE * random.between(1, 12))
          overwrite(at(name), offset, bytes, random.below(3) === 0)
          bytes.copy(written.get(name)!, offset)
          const other = random.pick(names)
          expect(fs.readFileSync(at(other)).equals(written.get(other)!), `${other}, round ${round}`).toBe(true)
          await sleep(random.below(3))
        }
        await closed
        shared += (JSON.parse(output) as Report).applied!.sharedBytes
      }
      fs.writeFileSync('/proc/sys/vm/drop_caches', '3')
      for (const [name, bytes] of written) expect(fs.readFileSync(at(name)).equals(bytes), name).toBe(true)
      expect(shared).toBeGreaterThan(0)
    })
  })

describeWith(['root', 'loop', 'xfs'], 'samepage dedupe of two file systems', () => {
  test('interrupted while the second is read: ends, and tells what was done in the first', async () => {
    await using first = await loopFilesystem('xfs')
    await using second = await loopFilesystem('xfs')
    for (const name of ['a', 'b']) writeSynced(path.join(first.path, name), noise(MEBIBYTE, 1))
    const content = noise(16 * MEBIBYTE, 2)
    for (let copy = 0; copy < 8; copy++) writeSynced(path.join(second.path, `${copy}`), content)
    let hasShared = false
    let isReadingOn = false
    const result = await dedupePaths({
      ...{ paths: [first.path, second.path], xdev: false, include: [], exclude: [] },
      ...{ minRun: 16 * PAGE, domain: 'none', isApplied: true, memory: MEBIBYTE },
      isInterrupted: () => isReadingOn,
      onProgress: ({ phase }) => {
        hasShared ||= phase === 'sharing'
        isReadingOn ||= hasShared && phase === 'reading'
      },
    })
    expect(result.applied).toMatchObject({ isInterrupted: true, savedBytes: MEBIBYTE })
    expect(result.readBytes).toBeLessThan((2 + 128) * MEBIBYTE)
    expect(extentsOf(path.join(second.path, '1')).shareableBytes()).toBe(0)
  })
})
