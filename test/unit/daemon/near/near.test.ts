/** Whose node a request is of, and where workers go. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ClientNodes } from '../../../../src/daemon/near/client-nodes.ts'
import { OpenNodes } from '../../../../src/daemon/near/open-nodes.ts'
import { WorkerPlace } from '../../../../src/daemon/near/worker-place.ts'

test('a client is looked for once in a while, and is where he was seen', () => {
  let now = 0
  let node = 1
  const looked: number[] = []
  const clients = new ClientNodes(
    (tid) => {
      looked.push(tid)
      return tid === 0 ? -1 : node
    },
    () => now,
  )
  expect(clients.of(7)).toBe(1)
  node = 2
  expect(clients.of(7)).toBe(1)
  expect(clients.of(8)).toBe(2)
  now = 150
  expect(clients.of(7)).toBe(2)
  expect(looked).toEqual([7, 8, 7])
  expect(clients.of(0)).toBeUndefined()
})

test('threads that came and went are forgotten', () => {
  let looks = 0
  const clients = new ClientNodes(
    () => looks++ % 4,
    () => 0,
  )
  for (let tid = 1; tid <= 5000; tid++) clients.of(tid)
  clients.of(1)
  expect(looks).toBe(5001)
})

const KIB = 1024

/** A worker, and how often it went. */
function worker(mayGo: boolean) {
  const state = { node: 0, went: 0 }
  const place = new WorkerPlace(
    () => state.node,
    (node) => {
      state.went++
      if (mayGo) state.node = node
    },
  )
  return { state, place }
}

test('a worker goes to a client who reads much, and to none who reads little', () => {
  const { state, place } = worker(true)
  expect(place.serve(1, 1024 * KIB)).toBe(1)
  expect(place.serve(0, 4 * KIB)).toBe(1)
  expect(place.serve(1, 4 * KIB)).toBe(1)
  for (let i = 0; i < 1000; i++) expect(place.serve(i % 2, 4 * KIB)).toBe(1)
  expect(state.went).toBe(1)
  // Two nodes, of which one reads more: it ends there.
  for (let i = 0; i < 10; i++) {
    place.serve(1, 4 * KIB)
    place.serve(0, 128 * KIB)
  }
  expect([state.node, state.went]).toEqual([0, 2])
  place.serve(1, 1024 * KIB)
  // The same client again and again: it pays after all.
  for (let i = 0; i < 64; i++) place.serve(0, 4 * KIB)
  expect(state.node).toBe(0)
})

test('one that may not run there stays, and copies from where it is', () => {
  const { state, place } = worker(false)
  for (let i = 0; i < 10; i++) expect(place.serve(1, 128 * KIB)).toBe(0)
  expect(state.went).toBe(5)
})

test('a worker never goes for less than was copied from afar since it went last', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(2), fc.constantFrom(4, 64, 128, 1024)), { maxLength: 300 }), (reads) => {
      const { state, place } = worker(true)
      let far = 0
      for (const [node, kib] of reads) {
        if (node !== state.node) far += kib
        place.serve(node, kib * KIB)
      }
      expect(state.went * 256).toBeLessThanOrEqual(far)
    }),
  )
})

test('an open file is of the node that opened it; a descriptor that nobody wrote down is of none', () => {
  const opened = new OpenNodes(OpenNodes.allocate())
  expect(opened.of(5)).toBeUndefined()
  opened.set(5, 0)
  opened.copy(5, 6)
  expect([opened.of(5), opened.of(6)]).toEqual([0, 0])
  opened.set(5, undefined)
  opened.copy(5, 6)
  expect([opened.of(5), opened.of(6)]).toEqual([undefined, undefined])
  opened.set(1e9, 3)
  expect(opened.of(1e9)).toBeUndefined()
})
