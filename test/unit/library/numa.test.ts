import { describe, expect, test } from 'vitest'
import { FrameNodes } from '../../../src/cache/frame-nodes.ts'
import type { NumaSystem } from '../../../src/library/native.ts'
import { nearOf, planNodes } from '../../../src/library/numa.ts'

/** Nodes by their bytes of memory; `distances[i][j]` from the i-th to the j-th. CPU i is on `cpus[i]`. */
function system(
  nodes: readonly { number: number; bytes: number }[],
  distances: number[][],
  cpus: number[],
): NumaSystem {
  return {
    readNodes: () =>
      nodes.map((node, i) => ({
        ...node,
        distances: new Map(nodes.map(({ number }, j) => [number, distances[i]![j]!])),
      })),
    readCpuNodes: () => cpus,
    currentCpu: () => current,
    bindMemory: () => {},
    pagesByNode: () => new Map(),
  }
}
let current = 0

/** Nodes 0, 1, … with so many bytes. */
const memories = (...bytes: readonly number[]) => bytes.map((bytes, number) => ({ number, bytes }))
const TWO = [
  [10, 21],
  [21, 10],
]

describe('planNodes', () => {
  test('shares are those of the memory, and none is lost', () => {
    const plan = planNodes('replicate', 1000, system(memories(3e9, 1e9), TWO, []))!
    expect(plan.table.frames).toEqual([750, 250])
    expect(planNodes('inode', 7, system(memories(1e12, 1), TWO, []))!.table.frames).toEqual([6, 1])
  })

  test('one node with memory, or off: nothing', () => {
    expect(planNodes('replicate', 100, system([{ number: 0, bytes: 1 }], [[10]], []))).toBeUndefined()
    expect(planNodes('replicate', 100, system(memories(1, 0), TWO, []))).toBeUndefined()
    expect(planNodes('off', 100, system(memories(1, 1), TWO, []))).toBeUndefined()
    expect(planNodes('replicate', 100, undefined)).toBeUndefined()
  })

  test('a node without memory stands for the nearest that has some; numbers may have gaps', () => {
    const nodes = [
      { number: 0, bytes: 1e9 },
      { number: 2, bytes: 1e9 },
      { number: 5, bytes: 0 },
    ]
    const distances = [
      [10, 20, 30],
      [20, 10, 12],
      [30, 12, 10],
    ]
    const machine = system(nodes, distances, [0, 2, 5])
    const plan = planNodes('replicate', 10, machine)!
    expect(plan.numbers).toEqual([0, 2])
    // The last CPU came later.
    for (const [cpu, near] of [0, 1, 1, 0].entries()) {
      current = cpu
      expect(nearOf(plan, machine)()).toBe(near)
    }
  })

  test('what makes no sense is refused', () => {
    const seventeen = Array.from({ length: 17 }, (_, number) => ({ number, bytes: 1e9 }))
    const all = seventeen.map(() => seventeen.map(() => 10))
    expect(() => planNodes('replicate', 1000, system(seventeen, all, []))).toThrow(/17 nodes/)
    expect(() => planNodes('near' as 'off', 1000, undefined)).toThrow(/'near' is none of/)
  })
})

test('FrameNodes tells the node of each frame, and the nearest first', () => {
  const nodes = new FrameNodes({
    frames: [3, 1, 2],
    distances: [
      [10, 30, 20],
      [30, 10, 12],
      [20, 12, 10],
    ],
  })
  expect([0, 1, 2, 3, 4, 5].map((frame) => nodes.nodeOf(frame))).toEqual([0, 0, 0, 1, 2, 2])
  expect([0, 1, 2].map((node) => nodes.nearest(node))).toEqual([
    [0, 2, 1],
    [1, 2, 0],
    [2, 1, 0],
  ])
})
