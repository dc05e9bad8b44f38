/**
 * `samepage dedupe` on real file systems: what the dry run says is saved is saved, and no byte of any file changes, whatever files there are, whoever writes meanwhile, and
 * whenever it is interrupted.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cloneRange } from '../../src/linux/clone.ts'
import { O_RDWR } from '../../src/linux/file.ts'
import { residentPages } from '../../src/linux/mincore.ts'
import {
  clone,
  extentsOf,
  freeBytes,
  MEBIBYTE,
  noise,
  overwrite,
  PAGE,
  run,
  withFd,
  writeSynced,
} from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted, PROGRAM } from '../support/mounted.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'

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

/** Bytes of the device that files below a directory use, each once. */
function storedBytes(directory: string): number {
  const pages = new Set<number>()
  for (const name of namesBelow(directory)) {
    const { count, physical, length } = extentsOf(path.join(directory, name))
    for (let i = 0; i < count; i++) for (let at = 0; at < length[i]!; at += PAGE) pages.add(physical[i]! + at)
  }
  return pages.size * PAGE
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
        expect(dry.applied).toBeNull()
        expect({ state: stateOf(tree), stored: storedBytes(tree) }).toEqual(before)

        const { plan, applied } = dedupe('--apply', '--min-run', minRun, tree)
        expect(plan).toEqual(dry.plan)
        expect(applied).toMatchObject({ savedBytes: plan.savedBytes, differentBytes: 0, busyBytes: 0, failures: [] })
        expect(stateOf(tree)).toEqual(before.state)
        run('sync', '-f', tree)
        expect(before.stored - storedBytes(tree)).toBe(plan.savedBytes)
      })
  })
