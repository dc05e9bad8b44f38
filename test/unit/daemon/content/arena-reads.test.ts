/** READ of files that are held in the arena: what a worker does where a page is missing. */
import { expect, test } from 'vitest'
import { OwnPages } from '../../../../src/cache/own-pages.ts'
import { ARENA, RunMap } from '../../../../src/cache/run-map.ts'
import { ArenaReads } from '../../../../src/daemon/content/arena-reads.ts'
import type { ContentReader } from '../../../../src/daemon/content/content-reader.ts'
import { InodeTable } from '../../../../src/daemon/inode-table.ts'
import { RequestStats } from '../../../../src/daemon/request-stats.ts'
import { Reply, Request } from '../../../../src/fuse/messages.ts'

const SIZE = 3 * 4096
/** Nothing is open as that. */
const NO_FD = 999_999

test('what is missing is read by the client’s descriptor where no second one is to be had', () => {
  // The first page is there.
  const reader = {
    copy(_content: unknown, position: number, target: Uint8Array, length: number) {
      const have = Math.max(0, Math.min(length, 4096 - position))
      target.fill(1, 0, have)
      return have
    },
    has: () => false,
  } as unknown as ContentReader
  const asked: unknown[] = []
  const reads = new ArenaReads(reader, {
    worker: 0,
    fuseFd: -1,
    inodes: new InodeTable(InodeTable.allocate(1)),
    stats: new RequestStats(RequestStats.allocate(1)),
    tellKeeper: (message) => asked.push(message),
    readPiece(fd, target, length, offset) {
      expect([fd, offset]).toEqual([NO_FD, 4096])
      target.fill(2, 0, length)
      return length
    },
  })
  const runs = RunMap.build([{ filePage: 0, pageCount: 3, home: ARENA, homePage: 0 }], SIZE)
  const own = new OwnPages(OwnPages.allocate(SIZE))
  const mapped = { runs, own, homes: [], content: { mapping: 0, version: 0 }, direct: undefined, bytes: 0 }
  const reply = new Reply(16 + SIZE)
  const read = { slot: 0, map: 1, mapped, fd: NO_FD, offset: 0, size: SIZE, fills: false }
  expect(reads.read(read, new Request(64), reply)).toBe(SIZE)
  expect([reply.payload[0], reply.payload[4095], reply.payload[4096], reply.payload[SIZE - 1]]).toEqual([1, 1, 2, 2])
  expect(asked).toEqual([])
})
