/** What becomes of reads whose pages cannot be loaded. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { allocateMemory } from '../../../../src/cache/memory.ts'
import { OwnPages } from '../../../../src/cache/own-pages.ts'
import { RunMap } from '../../../../src/cache/run-map.ts'
import type { ContentCache } from '../../../../src/daemon/content/content-cache.ts'
import type { ContentFile } from '../../../../src/daemon/content/content-files.ts'
import { HandedReads } from '../../../../src/daemon/content/handed-reads.ts'
import { InodeTable } from '../../../../src/daemon/inode-table.ts'
import { ServingState } from '../../../../src/daemon/slot-serving.ts'
import { Arena } from '../../../../src/library/arena.ts'
import { ERRNO, SystemError } from '../../../../src/linux/errors.ts'
import { eventually } from '../../../support/eventually.ts'

const SIZE = 2 * 4096
const HEADER_BYTES = 16

let directory: string
let answers: string
let fuseFd: number
let fd: number
let loaded: number
let defects: unknown[]

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-handed-'))
  answers = path.join(directory, 'answers')
  fuseFd = fs.openSync(answers, 'w')
  fs.writeFileSync(path.join(directory, 'file'), Buffer.alloc(SIZE, 7))
  fd = fs.openSync(path.join(directory, 'file'), 'r')
  loaded = 0
  defects = []
})

afterEach(() => {
  for (const each of [fuseFd, fd]) fs.closeSync(each)
  fs.rmSync(directory, { recursive: true })
})

/** With a cache that fails so. */
function readsFailing(error: Error): HandedReads {
  const inodes = new InodeTable(InodeTable.allocate(1))
  const content = { mapping: 0, version: 0, state: { size: SIZE } } as unknown as ContentFile
  const own = new OwnPages(OwnPages.allocate(SIZE))
  return new HandedReads({
    arena: {
      memory: allocateMemory({ frames: 1, nodes: 8, mappings: 8, threads: 1, pinsPerThread: 1 }),
      arena: Arena.create(1, undefined).handle,
    },
    contents: {
      load() {
        loaded++
        return Promise.reject(error)
      },
    } as unknown as ContentCache,
    inodes,
    serving: new ServingState(inodes),
    contentOf: () => ({ content, runs: RunMap.build([], SIZE), own }),
    failed: (error) => defects.push(error),
  })
}

const open = () => fs.openSync(path.join(directory, 'file'), 'r')
const loadable = () => ({ slot: 0, map: 1, near: 0, loadFd: open(), isDirect: false })

/** The errno, and the first byte. */
async function answerOf(reads: HandedReads): Promise<[number, number | undefined]> {
  const asked = { fuseFd, uniqueLow: 1, uniqueHigh: 0 }
  reads.receive({ type: 'read', ...asked, ...loadable(), fd, offset: 0, size: SIZE, fills: false })
  await eventually(() => expect(fs.statSync(answers).size).toBeGreaterThan(0))
  const answer = fs.readFileSync(answers)
  return [Math.abs(answer.readInt32LE(4)), answer[HEADER_BYTES]]
}

test('where the pages cannot be had in memory they are read from the file', async () => {
  expect(await answerOf(readsFailing(new SystemError(ERRNO.ENOMEM, 'mmap')))).toEqual([0, 7])
  expect([loaded, defects]).toEqual([1, []])
})

test('a defect is told of, and whoever reads gets an error', async () => {
  const defect = new TypeError('not a function')
  expect(await answerOf(readsFailing(defect))).toEqual([ERRNO.EIO, undefined])
  expect(defects).toEqual([defect])
})

test('a defect in reading ahead is told of, and ends nothing else', async () => {
  const defect = new TypeError('not a function')
  const reads = readsFailing(defect)
  reads.receive({ type: 'readAhead', ...loadable(), page: 0, count: 2 })
  await eventually(() => expect(defects).toEqual([defect]))
  const failing = readsFailing(new SystemError(ERRNO.EIO, 'read'))
  failing.receive({ type: 'readAhead', ...loadable(), page: 0, count: 2 })
  await eventually(() => expect(loaded).toBe(2))
  expect(defects).toHaveLength(1)
})
