/** Windows of the keeper's thread: what a file or a device is held by. */
import { expect, test } from 'vitest'
import type { PageKeeper } from '../../../src/cache/page-keeper.ts'
import type { Arena } from '../../../src/library/arena.ts'
import { DirectMemory } from '../../../src/library/direct-memory.ts'
import type { Native } from '../../../src/library/native.ts'

test('a thread that ends without closing its cache leaves no window open', () => {
  const opened: number[] = []
  const native = {
    windows: {
      open: (fd: number, bytes: number) => {
        opened.push(fd)
        return { address: fd * 2 ** 30, capacity: bytes }
      },
      close: ({ address }: { address: number }) => opened.splice(opened.indexOf(address / 2 ** 30), 1),
      view: () => [],
    },
  } as unknown as Native
  const pages = { allowDirect: () => ({}) } as unknown as PageKeeper
  const memory = new DirectMemory('direct', native, pages, {} as Arena)
  for (const fd of [3, 4, 5]) memory.addDevice(fd, fd, { bytes: 4096, alignBytes: 4096 })
  memory.remove(4)
  expect(opened).toEqual([3, 5])
  memory.abandon()
  expect(opened).toEqual([])
})
