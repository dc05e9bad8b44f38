import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type LockRequest, LockTable } from '../../../../src/daemon/locks/lock-table.ts'
import { ERRNO } from '../../../../src/linux/errors.ts'
import { F_RDLCK, F_UNLCK, F_WRLCK, OFFSET_MAX } from '../../../../src/linux/locks.ts'

/** A table whose clock the test moves, with nobody outside. */
function tableOfTest() {
  const world = {
    now: 0,
    outside: new Set<string>(),
    /** The types that were asked for below. */
    asked: [] as number[],
    retries: [] as number[],
    counted: new Map<number, number>(),
  }
  const table = new LockTable({
    below: {
      set({ key, type }) {
        world.asked.push(type)
        return type === F_UNLCK || !world.outside.has(key)
      },
      find: () => undefined,
      drop: () => {},
    },
    counted: (inoLow, inodes) => world.counted.set(inoLow, (world.counted.get(inoLow) ?? 0) + inodes),
    now: () => world.now,
    retryAfter: (ms) => world.retries.push(ms),
  })
  function later(ms: number): void {
    world.now += ms
    world.retries = []
    table.retry()
  }
  return { table, world, later }
}

const base: LockRequest = {
  key: 'f',
  inoLow: 1,
  slot: 0,
  open: 1,
  owner: 'a',
  pid: 1,
  type: F_WRLCK,
  start: 0n,
  end: OFFSET_MAX,
  isWhole: false,
  waits: false,
}

/** Asks for a lock; `results` has the answer when there is one. */
function ask(table: LockTable, request: Partial<LockRequest>): { results: number[]; takeBack: () => void } {
  const results: number[] = []
  const takeBack = table.set({ ...base, ...request }, (result) => results.push(result))
  table.check()
  return { results, takeBack }
}

describe('the lock table', () => {
  it('tells who would not wait that a lock is taken, but not before it may have been given back', () => {
    const { table, later } = tableOfTest()
    ask(table, {})
    const denied = ask(table, { owner: 'b', open: 2 })
    expect(denied.results).toEqual([])
    later(1)
    expect(denied.results).toEqual([])
    later(10)
    expect(denied.results).toEqual([-ERRNO.EAGAIN])
  })

  it('gives a lock whose open file goes meanwhile to who would not have waited', () => {
    const { table } = tableOfTest()
    ask(table, { isWhole: true })
    const next = ask(table, { owner: 'b', open: 2, isWhole: true })
    table.released('f', 1)
    expect(next.results).toEqual([0])
  })

  it('lets who locks a whole file as he has it locked keep it all the time', () => {
    const { table, world } = tableOfTest()
    ask(table, { isWhole: true })
    const waiting = ask(table, { owner: 'b', open: 2, isWhole: true, waits: true })
    world.asked = []
    expect(ask(table, { isWhole: true }).results).toEqual([0])
    expect(ask(table, { isWhole: true, waits: true }).results).toEqual([0])
    expect([world.asked, waiting.results]).toEqual([[], []])
    // One of the other kind is given back first.
    expect(ask(table, { isWhole: true, type: F_RDLCK }).results).toEqual([0])
    expect(world.asked).toEqual([F_UNLCK, F_RDLCK])
    ask(table, { isWhole: true, type: F_UNLCK })
    expect(waiting.results).toEqual([0])
  })

  it('wakes those who wait, in their order, and forgets who is interrupted', () => {
    const { table } = tableOfTest()
    ask(table, {})
    const [first, second, third] = ['b', 'c', 'd'].map((owner, i) => ask(table, { owner, open: i + 2, waits: true }))
    second!.takeBack()
    expect(second!.results).toEqual([-ERRNO.EINTR])
    table.flushed('f', 'a')
    expect([first!.results, third!.results]).toEqual([[0], []])
    ask(table, { owner: 'b', type: F_UNLCK })
    expect(third!.results).toEqual([0])
  })

  it('wakes readers when a writer becomes one', () => {
    const { table } = tableOfTest()
    ask(table, {})
    const reader = ask(table, { owner: 'b', type: F_RDLCK, waits: true })
    ask(table, { type: F_RDLCK })
    expect(reader.results).toEqual([0])
  })

  it('sees a circle of processes that wait for each other', () => {
    const { table } = tableOfTest()
    for (const [owner, key] of [
      ['a', 'f'],
      ['b', 'g'],
      ['c', 'h'],
    ] as const)
      expect(ask(table, { owner, key }).results).toEqual([0])
    expect(ask(table, { owner: 'a', key: 'g', waits: true }).results).toEqual([])
    expect(ask(table, { owner: 'b', key: 'h', waits: true }).results).toEqual([])
    expect(ask(table, { owner: 'c', key: 'f', waits: true }).results).toEqual([-ERRNO.EDEADLK])
  })

  it('keeps what a process locked through another descriptor after it had closed one', () => {
    const { table } = tableOfTest()
    ask(table, { open: 1 })
    table.flushed('f', 'a')
    ask(table, { open: 2 })
    table.released('f', 1)
    expect(ask(table, { owner: 'b', open: 3, waits: true }).results).toEqual([])
  })

  it('waits for somebody outside, and asks again', () => {
    const { table, world, later } = tableOfTest()
    world.outside.add('f')
    const waiter = ask(table, { waits: true })
    expect([waiter.results, world.retries.length]).toEqual([[], 1])
    world.outside.clear()
    later(100)
    expect([waiter.results, world.retries.length]).toEqual([[0], 0])
  })

  it('counts exactly the inodes that have locks, whatever happens', () => {
    const action = fc.record({
      what: fc.constantFrom('set', 'set', 'set', 'flush', 'release', 'interrupt', 'later'),
      key: fc.constantFrom('f', 'g'),
      owner: fc.constantFrom('a', 'b', 'c'),
      type: fc.constantFrom(F_RDLCK, F_WRLCK, F_UNLCK),
      start: fc.bigInt(0n, 6n),
      isWhole: fc.boolean(),
      waits: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const { table, world, later } = tableOfTest()
        const pending: (() => void)[] = []
        for (const { what, key, owner, type, start, isWhole, waits } of actions) {
          // Owner and open file are one here, as with locks of open file descriptions.
          const open = owner.charCodeAt(0)
          if (what === 'set') {
            const end = start + 2n
            const inoLow = key.charCodeAt(0)
            pending.push(ask(table, { key, inoLow, owner, open, type, start, end, isWhole, waits }).takeBack)
          } else if (what === 'flush') table.flushed(key, owner)
          else if (what === 'release') table.released(key, open)
          else if (what === 'interrupt') pending.pop()?.()
          else later(10)
          table.check()
          const counted = [...world.counted.values()].filter((count) => count !== 0)
          expect(counted).toEqual(new Array(table.size).fill(1))
        }
        for (const takeBack of pending) takeBack()
        for (const key of ['f', 'g']) for (const owner of ['a', 'b', 'c']) table.released(key, owner.charCodeAt(0))
        expect(table.size).toBe(0)
      }),
      { numRuns: 500 },
    )
  })
})
