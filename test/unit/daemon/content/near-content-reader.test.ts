/** Reading from an arena of two nodes: which copy is read, what is told of it, and what is counted. */
import { expect, test } from 'vitest'
import { PAGE_BYTES } from '../../../../src/cache/entry.ts'
import { FrameNodes } from '../../../../src/cache/frame-nodes.ts'
import { allocateMemory } from '../../../../src/cache/memory.ts'
import { PageKeeper } from '../../../../src/cache/page-keeper.ts'
import { NodeClocks } from '../../../../src/cache/reclaim/node-clocks.ts'
import { ReuseClock } from '../../../../src/cache/reclaim/reuse-clock.ts'
import { NearContentReader } from '../../../../src/daemon/content/near-content-reader.ts'
import { Arena } from '../../../../src/library/arena.ts'
import type { NumaMode } from '../../../../src/library/numa.ts'

const FRAMES = 32
const PAGES = 4
const TABLE = {
  frames: [FRAMES / 2, FRAMES / 2],
  distances: [
    [10, 21],
    [21, 10],
  ],
}

/** An arena with a file of four pages, which hold 1, 2, 3, 4, loaded on node 0. */
function arenaOf(mode: NumaMode) {
  const memory = allocateMemory({ frames: FRAMES, nodes: 64, mappings: 8, threads: 1, pinsPerThread: 1 })
  const arena = Arena.create(FRAMES, undefined)
  const nodes = new FrameNodes(TABLE)
  const pages = new PageKeeper(
    memory,
    (ages) => new NodeClocks(nodes, ages, (frames, ages) => new ReuseClock(frames, ages)),
    2 * FRAMES * PAGE_BYTES,
    () => {},
    nodes,
  )
  if (mode === 'inode') pages.mapByNode()
  const replicaMappings =
    mode === 'replicate' ? pages.allowReplicas((from, to) => arena.bytes(to).set(arena.bytes(from))) : []
  const mapping = pages.mappings.create()
  const content = { mapping, version: pages.mappings.changeLayout(mapping) }
  const load = (near: number) => {
    for (let page = 0; page < PAGES; page++) {
      const frame = pages.reserve(pages.mappings.on(mapping, near), page, near)
      arena.bytes(frame).fill(page + 1)
      pages.publish(frame, true)
    }
  }
  load(0)
  const sent: { node: number; samples: Int32Array }[] = []
  const plan = { table: TABLE, numbers: [0, 1], nodeOfNumber: [0, 1] }
  const reader = new NearContentReader(
    { memory, arena: arena.handle },
    { handle: { mode, plan, replicaMappings } },
    (node, samples) => sent.push({ node, samples }),
  )
  const target = new Uint8Array(PAGES * PAGE_BYTES)
  const read = () => {
    target.fill(0)
    const count = reader.copy(content, 0, target, target.length)
    for (let at = 0; at < count; at += PAGE_BYTES / 4) expect(target[at]).toBe(Math.floor(at / PAGE_BYTES) + 1)
    return count
  }
  return { pages, reader, read, load, mapping, sent }
}

test('a replica on the node of the reader is read instead of the page itself, which is far', () => {
  const { pages, reader, read, mapping } = arenaOf('replicate')
  reader.at(0, 0)
  expect(read()).toBe(PAGES * PAGE_BYTES)
  expect(reader.takeBytesFar()).toBe(0)
  reader.at(1, 1)
  read()
  expect(reader.takeBytesFar()).toBe(PAGES * PAGE_BYTES)
  for (const page of [0, 1, 2]) expect(pages.replicate(mapping, page, 1)).toBe(true)
  expect(read()).toBe(PAGES * PAGE_BYTES)
  expect(reader.takeBytesFar()).toBe(PAGE_BYTES)
  expect(reader.takeBytesFar()).toBe(0)
  // The home is still there for who is on its node.
  reader.at(0, 0)
  read()
  expect(reader.takeBytesFar()).toBe(0)
})

test('samples are sent for the node that they were taken on, however often the reader moves', () => {
  const { reader, read, sent, pages } = arenaOf('replicate')
  for (let i = 0; i < 6000; i++) {
    reader.at(i % 2, i % 2)
    read()
  }
  const counts = [0, 1].map((node) => sent.filter((batch) => batch.node === node).length)
  for (const count of counts) expect(count).toBeGreaterThan(8)
  expect(Math.abs(counts[0]! - counts[1]!)).toBeLessThan(6)
  for (const { samples } of sent)
    for (let i = 0; i < samples.length; i += 2) expect(pages.frames.generation(samples[i]!)).toBe(samples[i + 1])
})

test('each node has its own: what one has loaded the other has not', () => {
  const { reader, read, load, sent } = arenaOf('inode')
  reader.at(1, 1)
  expect(read()).toBe(0)
  // Opened on the other node, read here.
  reader.at(1, 0)
  expect(read()).toBe(PAGES * PAGE_BYTES)
  expect(reader.takeBytesFar()).toBe(PAGES * PAGE_BYTES)
  load(1)
  reader.at(1, 1)
  expect(read()).toBe(PAGES * PAGE_BYTES)
  expect(reader.takeBytesFar()).toBe(0)
  expect(sent).toEqual([])
})
