/**
 * Random trees of clones, and what `samepage inspect` says about them against a slow computation from other programs'
 * answers: filefrag for the extents, xfs_io's mincore for the pages, fincore for their number.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Report } from '../../src/inspect/report.ts'
import { cloneRange, dedupeRange } from '../../src/linux/clone.ts'
import { O_RDWR } from '../../src/linux/file.ts'
import { noise, PAGE, run, withFd } from '../support/files.ts'
import { inspect } from '../support/inspect.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'

const FILES = 6
const PAGES_MAX = 48
/** Trees to have looked at, however busy the machine is. */
const TREES_MIN = 5

const file = fc.nat(FILES - 1)
const page = fc.nat(PAGES_MAX - 1)
const count = fc.integer({ min: 1, max: 24 })
const action = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), file, page, count, seed: fc.nat(20) }),
  fc.record({ kind: fc.constant('clone' as const), from: file, file }),
  fc.record({ kind: fc.constant('cloneRange' as const), from: file, fromPage: page, file, page, count }),
  fc.record({ kind: fc.constant('dedupe' as const), from: file, file, page, count }),
  fc.record({ kind: fc.constant('punch' as const), file, page, count }),
  fc.record({ kind: fc.constant('allocate' as const), file, page, count }),
  fc.record({ kind: fc.constant('truncate' as const), file, bytes: fc.nat(PAGES_MAX * PAGE) }),
  fc.record({ kind: fc.constant('link' as const), from: file, file }),
)
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never
const reading = fc.record({ file, page, count: fc.integer({ min: 1, max: PAGES_MAX }) })

/** Does it if the file system lets it; what is refused (a range that is not there, unequal bytes) changes nothing. */
function perform(tree: string, step: Action): void {
  const nameOf = (index: number) => path.join(tree, `d${index % 3}`, `f${index}`)
  const target = nameOf(step.file)
  if (step.kind === 'link') {
    if (fs.existsSync(nameOf(step.from)) && !fs.existsSync(target)) fs.linkSync(nameOf(step.from), target)
    return
  }
  if ('from' in step && !fs.existsSync(nameOf(step.from))) return
  if (!fs.existsSync(target)) fs.writeFileSync(target, '')
  const start = 'page' in step ? step.page * PAGE : 0
  const length = 'count' in step ? step.count * PAGE : 0
  switch (step.kind) {
    case 'write': {
      const fd = fs.openSync(target, 'r+')
      fs.writeSync(fd, noise(length, step.seed), 0, length, start)
      fs.closeSync(fd)
      break
    }
    case 'clone':
      if (step.from === step.file || fs.statSync(nameOf(step.from)).ino === fs.statSync(target).ino) break
      fs.rmSync(target)
      run('cp', '--reflink=always', nameOf(step.from), target)
      break
    case 'cloneRange':
      withFd(nameOf(step.from), (from) =>
        withFd(target, (to) => cloneRange(to, start, from, step.fromPage * PAGE, length), O_RDWR),
      )
      break
    case 'dedupe':
      withFd(nameOf(step.from), (from) => withFd(target, (to) => dedupeRange(to, start, from, start, length), O_RDWR))
      break
    case 'punch':
      run('fallocate', '--punch-hole', '-o', String(start), '-l', String(length), target)
      break
    case 'allocate':
      run('fallocate', '-o', String(start), '-l', String(length), target)
      break
    case 'truncate':
      fs.truncateSync(target, step.bytes)
  }
}

interface Place {
  file: string
  isResident: boolean
}

interface Truth {
  /** Pages of files by the block of the device that they lie in. */
  blocks: Map<number, Place[]>
  cachedPages: number
  /** Blocks that the file system calls shared. */
  flaggedBlocks: number
}

/** What other programs say about `files`. */
function truthOf(files: string[]): Truth {
  const blocks = new Map<number, Place[]>()
  let cachedPages = 0
  const flagged = new Set<number>()
  for (const name of files) {
    const pages = Math.ceil(fs.statSync(name).size / PAGE)
    if (pages === 0) continue
    const resident = new Set<number>()
    const cores = run('xfs_io', '-r', '-c', `mmap -r 0 ${pages * PAGE}`, '-c', 'mincore', name)
    for (const [, length, first] of cores.matchAll(/ (\d+) pages \((\d+) : /g)) {
      for (let i = 0; i < Number(length); i++) resident.add(Number(first) / PAGE + i)
    }
    cachedPages += resident.size
    for (const line of run('filefrag', '-v', '-b4096', name).split('\n')) {
      const match = /^\s*\d+:\s*(\d+)\.\.\s*(\d+):\s*(\d+)\.\.\s*(\d+):\s*\d+:\s*(?:\d+:)?\s*(.*)$/.exec(line)
      if (match === null || match[5]!.includes('unwritten') || match[5]!.includes('inline')) continue
      const [first, last, physical] = match.slice(1, 4).map(Number) as [number, number, number]
      for (let at = first; at <= last && at < pages; at++) {
        const block = physical + at - first
        const places = blocks.get(block) ?? []
        blocks.set(block, [...places, { file: name, isResident: resident.has(at) }])
        if (match[5]!.includes('shared')) flagged.add(block)
      }
    }
  }
  return { blocks, cachedPages, flaggedBlocks: flagged.size }
}

/** Pages in memory as fincore counts them. */
function fincorePages(files: string[]): number {
  const counts = run('fincore', '--noheadings', '--bytes', '--output', 'PAGES', ...files)
  return counts.split('\n').reduce((sum, count) => sum + Number(count), 0)
}

/** The truth, and what inspect says about the same moment: the kernel may drop a page at any time, so both stand still. */
function sameMoment(tree: string, files: string[]): { truth: Truth; report: Report } {
  const told: string[] = []
  for (let attempt = 0; attempt < 10; attempt++) {
    const before = truthOf(files)
    const report = inspect(tree)
    const truth = truthOf(files)
    const fincore = fincorePages(files)
    if (isDeepStrictEqual(before, truth) && fincore === truth.cachedPages) return { truth, report }
    told.push(`${before.cachedPages} → ${truth.cachedPages} pages, fincore says ${fincore}`)
  }
  throw new Error(`the page cache never stood still:\n${told.join('\n')}`)
}

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(
    ['root', 'loop', 'cachestat', kind, 'program:xfs_io', 'program:filefrag', 'program:fincore'],
    `inspect, random, ${kind}`,
    () => {
      test('says what filefrag and mincore say', async () => {
        await using filesystem = await loopFilesystem(kind)
        let trees = 0
        const seen = { shared: 0, duplicate: 0 }
        fc.assert(
          fc.property(
            fc.noBias(fc.array(action, { minLength: 6, maxLength: 30, size: 'max' })),
            fc.noBias(fc.array(reading, { minLength: 3, maxLength: 16, size: 'max' })),
            (steps, readings) => {
              const tree = path.join(filesystem.path, `tree-${trees++}`)
              for (const directory of ['d0', 'd1', 'd2']) fs.mkdirSync(path.join(tree, directory), { recursive: true })
              // Something to clone, and something to deduplicate.
              for (const start of [0, 1]) {
                perform(tree, { kind: 'write', file: start, page: 0, count: PAGES_MAX, seed: 1 })
              }
              for (const step of steps) perform(tree, step)
              run('sync', '-f', tree)
              const names = ['d0', 'd1', 'd2'].flatMap((directory) =>
                fs.readdirSync(path.join(tree, directory)).map((name) => path.join(tree, directory, name)),
              )
              const inodes = new Map(names.map((name) => [fs.statSync(name).ino, name]))
              for (const name of inodes.values()) run('dd', `if=${name}`, 'iflag=nocache', 'count=0', 'status=none')
              for (const { file: index, page: first, count: pages } of readings) {
                const name = path.join(tree, `d${index % 3}`, `f${index}`)
                // With whatever readahead adds.
                if (fs.existsSync(name)) {
                  spawnSync('dd', [`if=${name}`, 'of=/dev/null', 'bs=4096', `skip=${first}`, `count=${pages}`])
                }
              }
              const { truth, report } = sameMoment(tree, [...inodes.values()])
              const { blocks, cachedPages, flaggedBlocks } = truth

              const many = [...blocks.values()].filter((places) => places.length > 1)
              const residents = many.map((places) => places.filter(({ isResident }) => isResident).length)
              const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
              expect(report.totals).toMatchObject({
                files: inodes.size,
                hardLinks: names.length - inodes.size,
                cachedBytes: cachedPages * PAGE,
                sharedBytes: many.length * PAGE,
                potentialBytes: sum(many.map((places) => places.length - 1)) * PAGE,
                duplicateBytes: sum(residents.map((k) => Math.max(0, k - 1))) * PAGE,
                cachedAgainBytes: residents.filter((k) => k > 1).length * PAGE,
                elsewhereBytes: (flaggedBlocks - many.length) * PAGE,
              })
              for (const name of inodes.values()) {
                const row = report.files.find(({ path: shown }) => fs.statSync(shown).ino === fs.statSync(name).ino)
                const own = many.flatMap((places) => places.filter((place) => place.file === name).map(() => places))
                expect(row?.sharedBytes ?? 0).toBe(own.length * PAGE)
                expect(row?.potentialBytes ?? 0).toBe(
                  Math.round(sum(own.map((places) => ((places.length - 1) / places.length) * PAGE))),
                )
              }
              seen.shared += many.length
              seen.duplicate += report.totals.duplicateBytes / PAGE
              fs.rmSync(tree, { recursive: true })
            },
          ),
          // A busy machine gets through fewer.
          { numRuns: 25, interruptAfterTimeLimit: 120_000 },
        )
        expect(trees).toBeGreaterThanOrEqual(TREES_MIN)
        // The trees were worth looking at. How much there was is up to chance.
        expect(seen.shared).toBeGreaterThan(0)
        expect(seen.duplicate).toBeGreaterThan(0)
      })
    },
  )
}
