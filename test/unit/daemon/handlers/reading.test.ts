import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { RunMap } from '../../../../src/cache/run-map.ts'
import type { Context } from '../../../../src/daemon/handlers/context.ts'
import { readingHandlers } from '../../../../src/daemon/handlers/reading.ts'
import { InodeTable, nodeidOf, SLOT } from '../../../../src/daemon/inode-table.ts'
import { RequestStats } from '../../../../src/daemon/request-stats.ts'
import { Reply, Request } from '../../../../src/fuse/messages.ts'
import { IN_HEADER_BYTES, OUT_HEADER_BYTES } from '../../../../src/fuse/protocol.ts'
import { NO_REPLY } from '../../../../src/fuse/server.ts'

const PAGE = 4096
/** Half of it lies in a home. */
const SIZE = 32 * PAGE

let directory: string
let home: number

beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-reading-'))
  home = open('home', SIZE)
})

afterAll(() => fs.rmSync(directory, { recursive: true }))

function open(name: string, bytes: number): number {
  const file = path.join(directory, name)
  fs.writeFileSync(file, Buffer.alloc(bytes, name))
  return fs.openSync(file, 'r')
}

/** Reads all of a file whose second half is its own, in one request; what is counted, too. */
function read(ownFd: number, fuseFd: number) {
  const inodes = new InodeTable(InodeTable.allocate(1))
  inodes.set(0, SLOT.MAP, 1)
  const runs = RunMap.build([{ filePage: 0, pageCount: 16, home: 0, homePage: 0 }], SIZE)
  const stats = new RequestStats(RequestStats.allocate(1))
  const context = {
    noticeFd: fuseFd,
    answerFd: fuseFd,
    inodes,
    stats,
    worker: 0,
    splices: true,
    options: { maxReadBytes: SIZE },
    homes: { fd: () => home },
    maps: { get: () => ({ runs, own: undefined }) },
  } as unknown as Context
  const request = new Request(IN_HEADER_BYTES + 40)
  const body = IN_HEADER_BYTES / 4
  request.words[4] = nodeidOf(0)
  request.words[body] = ownFd + 1
  request.words[body + 4] = SIZE
  const reply = new Reply(OUT_HEADER_BYTES + SIZE)
  const result = readingHandlers(context, undefined).READ!(request, reply)
  return { result, counted: [stats.bytesFromHomes, stats.bytesFromFiles] }
}

test('bytes that are spliced to the kernel are counted', () => {
  const own = open('own', SIZE)
  const device = fs.openSync('/dev/null', 'r+')
  expect(read(own, device)).toEqual({ result: NO_REPLY, counted: [SIZE / 2, SIZE / 2] })
})

test('bytes that could not be spliced, and are copied, are counted once', () => {
  const own = open('own', SIZE)
  expect(read(own, -1)).toEqual({ result: SIZE, counted: [SIZE / 2, SIZE / 2] })
})

test('so are those of a file that has become shorter', () => {
  const own = open('own', SIZE - PAGE)
  expect(read(own, -1)).toEqual({ result: SIZE - PAGE, counted: [SIZE / 2, SIZE / 2 - PAGE] })
})
