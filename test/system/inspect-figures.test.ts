/**
 * Trees whose truth is known by construction: `samepage inspect` has to find it to the page. Everything is in pages of
 * 4096 bytes here; `K` clones and what of them is in memory are chosen so that no two figures coincide.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Report } from '../../src/inspect/report.ts'
import { CacheStat } from '../../src/linux/cachestat.ts'
import { cloneFile, cloneRange, dedupeRange } from '../../src/linux/clone.ts'
import { close, fadvise, O_RDWR, O_TMPFILE, open, POSIX_FADV_DONTNEED, pread } from '../../src/linux/file.ts'
import { residentPages } from '../../src/linux/mincore.ts'
import { memoryCgroup } from '../support/cgroups.ts'
import { clone, noise, overwrite, PAGE, run, withFd, writeSynced } from '../support/files.ts'
import { inspect, inspectResident, type Residency } from '../support/inspect.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith, testWith } from '../support/requires.ts'

/** The sums of a report in pages. */
function pagesOf({ totals }: Report): Record<string, number> {
  const { sharedBytes, cachedBytes, cachedAgainBytes, duplicateBytes, potentialBytes, rereadBytes, elsewhereBytes } =
    totals
  const figures = {
    sharedBytes,
    cachedBytes,
    cachedAgainBytes,
    duplicateBytes,
    potentialBytes,
    rereadBytes,
    elsewhereBytes,
  }
  return Object.fromEntries(
    Object.entries(figures).map(([name, bytes]) => [name.slice(0, -'Bytes'.length), bytes / PAGE]),
  )
}

/** Row of a file, by its name. */
function fileRow(report: Report, name: string) {
  const row = report.files.find((file) => path.basename(file.path) === name)
  if (row === undefined) throw new Error(`no row of ${name}`)
  return row
}

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(['root', 'loop', 'cachestat', kind], `inspect on ${kind}`, () => {
    let filesystem: LoopFilesystem
    let tree = ''
    let trees = 0

    beforeAll(async () => {
      filesystem = await loopFilesystem(kind)
    })
    afterAll(async () => {
      await filesystem?.[Symbol.asyncDispose]()
    })
    /** A new, empty directory. */
    const at = (name: string) => path.join(tree, name)
    const fresh = () => {
      tree = path.join(filesystem.path, `tree-${trees++}`)
      fs.mkdirSync(tree)
    }

    test('pages behind the end of a file, left of a large folio that was cut short, are nobody’s', () => {
      fresh()
      const pages = 123
      const base = fs.openSync(at('base'), 'w+')
      try {
        for (let page = 0; page < 4; page++) fs.writeSync(base, noise(PAGE, page), 0, PAGE, page * PAGE)
        fs.writeSync(base, noise(1_000_001, 5), 0, 1_000_001, 4 * PAGE)
        fs.ftruncateSync(base, pages * PAGE - 100)
        fs.fsyncSync(base)
        clone(at('base'), at('clone'))
        run('sync', '-f', tree)
        fs.readFileSync(at('clone'))
        fadvise(base, 0, 4 * PAGE, POSIX_FADV_DONTNEED)
        const resident = (name: string) =>
          withFd(at(name), (fd) => residentPages(fd, 0, pages * PAGE, new Uint8Array(pages)))
        const cached = resident('base')
        const report = inspect(tree)
        // The kernel may drop pages at any time.
        expect([cached, resident('base'), resident('clone')]).toEqual([cached, cached, pages])
        expect(pagesOf(report)).toMatchObject({ cached: cached + pages, duplicate: cached })
      } finally {
        fs.closeSync(base)
      }
    })

    test('two clones, one read by half, one not at all', () => {
      fresh()
      writeSynced(at('base'), noise(64 * PAGE, 1))
      clone(at('base'), at('half'))
      clone(at('base'), at('cold'))
      run('sync', '-f', tree)
      const report = inspectResident({ [at('base')]: [[0, 64]], [at('half')]: [[8, 40]], [at('cold')]: [] }, [tree])
      expect(pagesOf(report)).toEqual({
        ...{ shared: 64, potential: 128, elsewhere: 0 },
        ...{ cached: 96, cachedAgain: 32, duplicate: 32, reread: 32 },
      })
      expect(report.totals).toMatchObject({
        ...{ files: 3, sharingFiles: 3, groups: 1, sizeBytes: 192 * PAGE },
        ...{ allocatedBytes: 192 * PAGE, diskBytes: 64 * PAGE },
      })
      // Of each page that two files hold, each answers for half a copy; of what all use, for two thirds.
      const rows = ['base', 'half', 'cold'].map((name) => fileRow(report, name))
      expect(rows.map((row) => row.duplicateBytes / PAGE)).toEqual([16, 16, 0])
      expect(rows.map((row) => row.cachedAgainBytes / PAGE)).toEqual([32, 32, 0])
      expect(rows.map((row) => row.potentialBytes)).toEqual(Array(3).fill(Math.round((128 * PAGE) / 3)))
      expect(report.groups).toMatchObject([
        { path: at('base'), directory: tree, files: 3, sharedBytes: 64 * PAGE, duplicateBytes: 32 * PAGE },
      ])
      expect(report.directories).toMatchObject([{ path: tree, duplicateBytes: 32 * PAGE, cachedBytes: 96 * PAGE }])
      expect(report.divided).toEqual([])
      expect(report.notes).toEqual([])
    })

    test('parts of a file, cloned to other offsets, and rewritten pages', () => {
      fresh()
      writeSynced(at('base'), noise(64 * PAGE, 2))
      writeSynced(at('part'), noise(10 * PAGE, 3))
      // Pages 20 … 35 of base at pages 10 … 25 of part; then two of these are rewritten.
      withFd(at('base'), (from) =>
        withFd(at('part'), (to) => cloneRange(to, 10 * PAGE, from, 20 * PAGE, 16 * PAGE), O_RDWR),
      )
      overwrite(at('part'), 12 * PAGE, noise(2 * PAGE, 4))
      run('sync', '-f', tree)
      const report = inspectResident({ [at('base')]: [[18, 24]], [at('part')]: [[0, 26]] }, [tree])
      // Shared: 14 pages. In memory of base 18 … 23; in part 20, 21 lie at 10, 11 and 22, 23 were rewritten.
      expect(pagesOf(report)).toMatchObject({ shared: 14, potential: 14, cached: 32, cachedAgain: 2, duplicate: 2 })
      expect(fileRow(report, 'part').pieces).toBeGreaterThanOrEqual(4)
      expect(report.divided.map((row) => path.basename(row.path))).toContain('part')
      // XFS allocates more than is written ahead of copy-on-write; what du says is the reference.
      const blocks = ['base', 'part'].map((name) => fs.statSync(at(name)).blocks * 512)
      expect(report.totals.allocatedBytes).toBe(blocks[0]! + blocks[1]!)
      expect(report.totals.diskBytes).toBe(report.totals.allocatedBytes - 14 * PAGE)
    })

    test('deduplicated files share like clones', () => {
      fresh()
      for (const name of ['one', 'two']) writeSynced(at(name), noise(32 * PAGE, 5))
      run('sync', '-f', tree)
      const both = { [at('one')]: [[0, 32]], [at('two')]: [[0, 32]] } as const
      expect(pagesOf(inspectResident(both, [tree]))).toMatchObject({ shared: 0, duplicate: 0, cached: 64 })
      withFd(at('one'), (from) =>
        withFd(at('two'), (to) => dedupeRange(to, 8 * PAGE, from, 8 * PAGE, 16 * PAGE), O_RDWR),
      )
      expect(pagesOf(inspectResident(both, [tree]))).toMatchObject({
        shared: 16,
        potential: 16,
        duplicate: 16,
        cached: 64,
      })
    })

    test('holes, and pages of holes that are in memory, are nobody’s blocks', () => {
      fresh()
      writeSynced(at('base'), noise(8 * PAGE, 6))
      overwrite(at('base'), 56 * PAGE, noise(8 * PAGE, 7))
      clone(at('base'), at('clone'))
      run('sync', '-f', tree)
      const report = inspectResident({ [at('base')]: [[0, 64]], [at('clone')]: [[0, 64]] }, [tree])
      expect(pagesOf(report)).toMatchObject({ shared: 16, potential: 16, cached: 128, duplicate: 16, cachedAgain: 16 })
      expect(report.totals.diskBytes).toBe(16 * PAGE)
    })

    test('preallocated pages hold no bytes of the disk', () => {
      fresh()
      writeSynced(at('base'), noise(8 * PAGE, 8))
      run('fallocate', '-o', String(8 * PAGE), '-l', String(8 * PAGE), at('base'))
      clone(at('base'), at('clone'))
      run('sync', '-f', tree)
      const report = inspectResident({ [at('base')]: [[0, 16]], [at('clone')]: [[0, 16]] }, [tree])
      expect(pagesOf(report)).toMatchObject({ shared: 8, duplicate: 8, cached: 32 })
    })

    test('the last page of a file counts as a page', () => {
      fresh()
      writeSynced(at('base'), noise(3 * PAGE + 100, 9))
      clone(at('base'), at('clone'))
      run('sync', '-f', tree)
      const report = inspectResident({ [at('base')]: [[0, 4]], [at('clone')]: [[0, 4]] }, [tree])
      expect(pagesOf(report)).toMatchObject({ shared: 4, potential: 4, cached: 8, duplicate: 4 })
    })

    test('hard links are one file, and so is what is named twice or reached through a bind mount', () => {
      fresh()
      writeSynced(at('base'), noise(16 * PAGE, 10))
      clone(at('base'), at('clone'))
      fs.linkSync(at('base'), at('again'))
      fs.linkSync(at('clone'), at('clone-again'))
      fs.mkdirSync(at('bound'))
      fs.mkdirSync(at('inner'))
      clone(at('base'), at('inner/third'))
      run('sync', '-f', tree)
      const all = Object.fromEntries(['base', 'clone', 'inner/third'].map((name) => [at(name), [[0, 16]] as const]))
      run('mount', '--bind', at('inner'), at('bound'))
      try {
        const expected = { shared: 16, potential: 32, cached: 48, duplicate: 32 }
        const report = inspectResident(all, [tree])
        expect(pagesOf(report)).toMatchObject(expected)
        expect(report.totals).toMatchObject({ files: 3, hardLinks: 2, allocatedBytes: 48 * PAGE })
        expect(pagesOf(inspectResident(all, [tree, `${tree}/`, at('inner'), at('bound'), at('base')]))).toMatchObject(
          expected,
        )
        expect(pagesOf(inspectResident(all, [at('base'), at('again'), at('clone')]))).toMatchObject({
          shared: 16,
          duplicate: 16,
        })
      } finally {
        run('umount', at('bound'))
      }
    })

    test('a home (an unnamed clone that is open and in memory) changes no figure', () => {
      fresh()
      writeSynced(at('base'), noise(32 * PAGE, 11))
      clone(at('base'), at('clone'))
      writeSynced(at('single'), noise(8 * PAGE, 12))
      run('sync', '-f', tree)
      const residency = { [at('base')]: [[0, 32]], [at('clone')]: [[16, 32]], [at('single')]: [[0, 8]] } as const
      const before = pagesOf(inspectResident(residency, [tree]))
      expect(before).toMatchObject({ shared: 32, cached: 56, duplicate: 16, elsewhere: 0 })

      const homes = ['base', 'single'].map((name) => {
        const home = open(tree, O_TMPFILE | O_RDWR, 0o600)
        expect(withFd(at(name), (fd) => cloneFile(home, fd))).toBe(0)
        const buffer = Buffer.alloc(32 * PAGE)
        expect(pread(home, buffer, buffer.length, 0)).toBeGreaterThan(0)
        return home
      })
      try {
        run('sync', '-f', tree)
        const report = inspectResident(residency, [tree])
        // Only the remark that somebody outside uses these blocks, too.
        expect(pagesOf(report)).toEqual({ ...before, elsewhere: 8 })
        expect(report.totals.groups).toBe(1)
        expect(report.notes.join()).toContain('outside')
      } finally {
        homes.forEach(close)
      }
    })

    test('dirty pages are their file’s own, without being written; --sync writes them', () => {
      fresh()
      writeSynced(at('base'), noise(64 * PAGE, 13))
      clone(at('base'), at('clone'))
      run('sync', '-f', tree)
      const all = { [at('base')]: [[0, 64]], [at('clone')]: [[0, 64]] } as const
      const rewrite = () => overwrite(at('clone'), 30 * PAGE, noise(3 * PAGE, 14), false)
      let report = inspectResident(all, [tree], rewrite)
      // Somebody else on this machine may have said `sync`.
      for (let i = 0; i < 10 && dirtyPages(at('clone')) !== 3; i++) report = inspectResident(all, [tree], rewrite)
      expect(pagesOf(report)).toMatchObject({ shared: 61, potential: 61, cached: 128, duplicate: 61 })
      expect(report.unknown.dirtyBytes).toBe(3 * PAGE)
      expect(report.notes.join()).toContain('dirty')
      expect(dirtyPages(at('clone'))).toBe(3)

      const synced = inspectResident(all, ['--sync', tree], rewrite)
      expect(pagesOf(synced)).toMatchObject({ shared: 61, potential: 61, cached: 128, duplicate: 61 })
      expect(synced.unknown.dirtyBytes).toBe(0)
      expect(dirtyPages(at('clone'))).toBe(0)
    })

    test('directories, groups and files add up, each in its place', () => {
      fresh()
      for (const name of ['a', 'b/inner', 'private']) fs.mkdirSync(at(name), { recursive: true })
      writeSynced(at('a/one'), noise(16 * PAGE, 15))
      clone(at('a/one'), at('b/inner/one'))
      writeSynced(at('a/two'), noise(4 * PAGE, 16))
      clone(at('a/two'), at('a/two-clone'))
      writeSynced(at('private/own'), noise(100 * PAGE, 17))
      run('sync', '-f', tree)
      const residency = {
        ...{ [at('a/one')]: [[0, 16]], [at('b/inner/one')]: [[0, 16]], [at('private/own')]: [[0, 50]] },
        ...{ [at('a/two')]: [[0, 2]], [at('a/two-clone')]: [[0, 2]] },
      } satisfies Residency
      const report = inspectResident(residency, [tree])
      expect(pagesOf(report)).toMatchObject({ shared: 20, potential: 20, cached: 86, duplicate: 18 })
      expect(report.totals).toMatchObject({ files: 5, sharingFiles: 4, groups: 2, directories: 5 })
      const directories = report.directories.map((row) => [
        path.relative(tree, row.path),
        ...[row.files, row.sharingFiles, row.cachedBytes / PAGE, row.duplicateBytes / PAGE, row.potentialBytes / PAGE],
      ])
      expect(directories).toEqual([
        ['', 5, 4, 86, 18, 20],
        ['a', 3, 3, 20, 10, 12],
        ['b/inner', 1, 1, 16, 8, 8],
        ['private', 1, 0, 50, 0, 0],
      ])
      expect(report.groups.map((row) => [path.relative(tree, row.path), row.files, row.duplicateBytes / PAGE])).toEqual(
        [
          [expect.stringMatching(/one$/), 2, 16],
          [expect.stringMatching(/^a\/two/), 2, 2],
        ],
      )
      expect(report.groups.map((row) => path.relative(tree, row.directory))).toEqual(['', 'a'])
      // Through a filter half of a pair has no partner in the walk.
      expect(pagesOf(inspectResident(residency, ['--exclude', 'inner', tree]))).toMatchObject({
        shared: 4,
        elsewhere: 16,
        duplicate: 2,
      })
      expect(inspect('--include', 'one', at('a/one'), at('a/two')).totals.files).toBe(1)
      expect(pagesOf(inspectResident(residency, ['--include', 'one', tree]))).toMatchObject({
        shared: 16,
        elsewhere: 0,
        duplicate: 16,
      })
    })

    testWith(['memory-cgroup'], 'files in memory whose pages were evicted were read all the same', async () => {
      fresh()
      writeSynced(at('base'), noise(64 * PAGE, 18))
      clone(at('base'), at('clone'))
      run('sync', '-f', tree)
      inspectResident({ [at('base')]: [] }, [tree])
      {
        await using group = memoryCgroup('inspect')
        group.run('cat', at('base'))
        group.reclaim()
      }
      const figures = pagesOf(inspectResident({ [at('clone')]: [[0, 64]] }, [tree]))
      // The kernel decides how many it evicts, and says so: those it remembers count as read, but not as in memory.
      const resident = figures.cached! - 64
      expect(figures.duplicate).toBe(resident)
      expect(figures.reread).toBeGreaterThan(resident)
      expect(figures.reread).toBeLessThanOrEqual(64)
    })

    test('many pieces, every other page rewritten and every third in memory', () => {
      fresh()
      const pages = 6000
      writeSynced(at('base'), noise(pages * PAGE, 19))
      clone(at('base'), at('clone'))
      const own = noise(PAGE, 20)
      const fd = fs.openSync(at('clone'), 'r+')
      for (let page = 0; page < pages; page += 2) fs.writeSync(fd, own, 0, PAGE, page * PAGE)
      fs.fsyncSync(fd)
      fs.closeSync(fd)
      run('sync', '-f', tree)
      const thirds = Array.from({ length: pages / 3 }, (_, i) => [3 * i, 3 * i + 1] as const)
      const report = inspectResident({ [at('base')]: thirds, [at('clone')]: thirds }, [tree])
      // Odd pages are shared; of them one in three is in memory, in both files.
      expect(pagesOf(report)).toMatchObject({
        ...{ shared: pages / 2, potential: pages / 2 },
        ...{ cached: (2 * pages) / 3, duplicate: pages / 6, cachedAgain: pages / 6 },
      })
      // The rewritten pages may lie anywhere, but no two shared ones are neighbours.
      expect(fileRow(report, 'clone').pieces).toBeGreaterThanOrEqual(pages / 2)
      expect(report.divided.map((row) => path.basename(row.path))).toContain('clone')
    })

    if (kind === 'btrfs') {
      test('subvolumes and snapshots of one file system share, although their devices and inode numbers differ', () => {
        fresh()
        run('btrfs', 'subvolume', 'create', at('volume'))
        writeSynced(at('volume/file'), noise(32 * PAGE, 21))
        run('sync', '-f', tree)
        run('btrfs', 'subvolume', 'snapshot', at('volume'), at('snapshot'))
        const residency = { [at('volume/file')]: [[0, 32]], [at('snapshot/file')]: [[16, 32]] } as const
        expect(fs.statSync(at('volume/file')).ino).toBe(fs.statSync(at('snapshot/file')).ino)
        expect(fs.statSync(at('volume/file')).dev).not.toBe(fs.statSync(at('snapshot/file')).dev)
        const expected = { shared: 32, potential: 32, cached: 48, duplicate: 16 }
        expect(pagesOf(inspectResident(residency, [tree]))).toMatchObject(expected)
        expect(pagesOf(inspectResident(residency, ['--xdev', tree]))).toMatchObject(expected)
        expect(inspect(tree).filesystems).toHaveLength(1)
      })

      test('compressed clones are said to be incomparable', () => {
        fresh()
        run('btrfs', 'property', 'set', tree, 'compression', 'zstd')
        writeSynced(at('base'), Buffer.alloc(64 * PAGE, 'compressible '))
        clone(at('base'), at('clone'))
        run('sync', '-f', tree)
        const report = inspect('--content', tree)
        expect(report.unknown.incomparableBytes).toBe(128 * PAGE)
        expect(pagesOf(report)).toMatchObject({ shared: 0, duplicate: 0 })
        expect(report.notes.join()).toContain('compressed')
        expect(report.content).toMatchObject({ equalBytes: 0 })
      })
    } else {
      test('a file that uses a block in two places holds it twice', () => {
        fresh()
        writeSynced(at('file'), noise(16 * PAGE, 22))
        withFd(at('file'), (fd) => cloneRange(fd, 16 * PAGE, fd, 4 * PAGE, 8 * PAGE), O_RDWR)
        run('sync', '-f', tree)
        const report = inspectResident({ [at('file')]: [[0, 24]] }, [tree])
        expect(pagesOf(report)).toMatchObject({ shared: 8, potential: 8, cached: 24, duplicate: 8 })
      })
    }

    test('a tree that changes meanwhile is walked to its end, and the report says that it changed', async () => {
      fresh()
      writeSynced(at('base'), noise(16 * PAGE, 23))
      const directory = (i: number) => at(`d${i % 100}`)
      for (let i = 0; i < 100; i++) fs.mkdirSync(directory(i))
      for (let i = 0; i < 3000; i++) clone(at('base'), path.join(directory(i), `f${i}`))
      const churn = spawn('sh', [
        '-c',
        `cd ${tree}; while :; do for i in $(seq 0 99); do rm -f d$i/f$i d$i/new; cp base d$i/new; echo x >> d$i/f1$i; done; done 2>/dev/null`,
      ])
      try {
        let seen = false
        for (let attempt = 0; attempt < 20 && !seen; attempt++) {
          const report = inspect(tree)
          seen = report.changes.files + report.changes.directories + report.changes.vanished > 0
          if (seen) expect(report.notes[0]).toContain('changed during the walk')
          expect(report.totals.files).toBeGreaterThan(2000)
        }
        expect(seen).toBe(true)
      } finally {
        churn.kill('SIGKILL')
        await once(churn, 'close')
      }
    })
  })
}

/** Dirty pages of a file as the kernel counts them. */
function dirtyPages(file: string): number {
  return withFd(file, (fd) => {
    const stat = new CacheStat()
    expect(stat.read(fd)).toBe(0)
    return stat.dirty + stat.writeback
  })
}
