/** Who receives requests: the rules one by one, any order of them, and real threads that pass work around. */
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { Crew, WORKER_STATE } from '../../../src/daemon/crew.ts'
import { hammer, testSeed } from '../../support/hammer.ts'
import { describeWith } from '../../support/requires.ts'

const { PARKED, RECEIVING, BUSY, GONE } = WORKER_STATE
const newCrew = (size: number) => new Crew(Crew.allocate(size))
const states = (crew: Crew) => Array.from({ length: crew.size }, (_, w) => crew.state(w))

describe('rules', () => {
  test('all start parked; calling in takes them one by one', () => {
    const crew = newCrew(3)
    expect([crew.size, crew.workersIn, states(crew)]).toEqual([3, 0, [PARKED, PARKED, PARKED]])
    expect([crew.callAnyIn(), crew.callAnyIn(), crew.callAnyIn(), crew.callAnyIn()]).toEqual([true, true, true, false])
    expect([crew.workersIn, states(crew)]).toEqual([3, [RECEIVING, RECEIVING, RECEIVING]])
    expect(crew.callIn(1)).toBe(false)
  })

  test('the last that receives does not park, also when others are busy', () => {
    const crew = newCrew(3)
    crew.callIn(0)
    expect(crew.parkUnlessLast(0)).toBe(false)
    crew.callIn(1)
    crew.began(1, 5, 6)
    expect(crew.parkUnlessLast(0)).toBe(false)
    crew.ended(1)
    expect(crew.parkUnlessLast(0)).toBe(true)
    expect([crew.workersIn, states(crew)]).toEqual([1, [PARKED, RECEIVING, PARKED]])
    expect(crew.served(1)).toBe(1)
  })

  test('of two that let each other go while a third is busy, one is called back', () => {
    const crew = newCrew(3)
    for (let w = 0; w < 3; w++) crew.callIn(w)
    crew.began(2, 5, 6)
    // Worker 1 parks just before worker 0 says that it has.
    const store = vi.spyOn(Atomics, 'store').mockImplementationOnce((...args) => {
      expect(crew.parkUnlessLast(1)).toBe(true)
      return Atomics.store(...args)
    })
    try {
      crew.parkUnlessLast(0)
      expect([crew.workersIn, states(crew)]).toEqual([2, [RECEIVING, PARKED, BUSY]])
    } finally {
      store.mockRestore()
    }
  })

  test('who is parked waits no longer than told, and not at all once called', () => {
    const crew = newCrew(1)
    expect(crew.waitUntilCalled(0, 5)).toBe(false)
    crew.callIn(0)
    expect(crew.waitUntilCalled(0, 60_000)).toBe(true)
  })

  test('who dies leaves the request that it had in hand, and its place', () => {
    const crew = newCrew(2)
    crew.callIn(0)
    crew.callIn(1)
    // What stands where they receive.
    const first = { uniqueLow: 0xffff_fffe, uniqueHigh: 0x8000_0001 }
    const second = { uniqueLow: 0xffff_fffe, uniqueHigh: 0x8000_0002 }
    const nothing = { uniqueLow: 0, uniqueHigh: 0 }
    expect(crew.abandonedBy(1, nothing)).toBe(undefined)
    // It has received it, and did not come to say so.
    expect(crew.abandonedBy(0, first)).toEqual([0xffff_fffe, 0x8000_0001])
    crew.began(0, first.uniqueLow, first.uniqueHigh)
    expect(crew.abandonedBy(0, first)).toEqual([0xffff_fffe, 0x8000_0001])
    crew.ended(0)
    expect(crew.abandonedBy(0, first)).toBe(undefined)
    expect(crew.abandonedBy(0, second)).toEqual([0xffff_fffe, 0x8000_0002])
    crew.bury(0)
    expect([crew.workersIn, crew.state(0), crew.abandonedBy(0, second)]).toEqual([1, PARKED, undefined])
    // One that was parked was not in.
    crew.bury(0)
    expect(crew.workersIn).toBe(1)
    // Nobody takes its place.
    crew.bury(1, true)
    expect([crew.workersIn, states(crew), crew.callIn(1)]).toEqual([0, [PARKED, GONE], false])
  })

  test('the monitor does not fall asleep over a request that began just before', () => {
    const crew = newCrew(2)
    crew.callIn(0)
    crew.began(0, 1, 0)
    const before = performance.now()
    crew.sleep(1, true)
    // Asleep it is for a second.
    expect(performance.now() - before).toBeLessThan(900)
  })

  test('a keeper that has messages and takes none is noticed, one without any is not', () => {
    const crew = newCrew(1)
    expect(crew.keeperAnswers(1000, 100)).toBe(true)
    expect(crew.keeperAnswers(9000, 100)).toBe(true)
    crew.asked()
    crew.asked()
    expect(crew.keeperAnswers(9050, 100)).toBe(true)
    expect(crew.keeperAnswers(9200, 100)).toBe(false)
    crew.heard()
    expect(crew.keeperAnswers(9300, 100)).toBe(true)
    expect(crew.keeperAnswers(9401, 100)).toBe(false)
    crew.heard()
    expect(crew.keeperAnswers(99_000, 100)).toBe(true)
  })
})

test('in any order: as many are in as are not parked, and somebody receives unless all that are in are busy', () => {
  const step = fc.tuple(fc.constantFrom('call', 'begin', 'end', 'park', 'bury'), fc.nat(3))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const crew = newCrew(4)
      for (const [what, w] of steps) {
        const receivingBefore = states(crew).filter((state) => state === RECEIVING).length
        if (what === 'call') crew.callIn(w)
        else if (what === 'begin' && crew.state(w) === RECEIVING) crew.began(w, w, 0)
        else if (what === 'end' && crew.state(w) === BUSY) crew.ended(w)
        else if (what === 'bury') crew.bury(w)
        else if (what === 'park' && crew.state(w) === RECEIVING) {
          const parked = crew.parkUnlessLast(w)
          expect(parked).toBe(receivingBefore > 1)
          expect(crew.state(w)).toBe(parked ? PARKED : RECEIVING)
        }
        expect(crew.workersIn).toBe(states(crew).filter((state) => state !== PARKED).length)
      }
    }),
  )
})

describeWith(['build'], 'threads', () => {
  test('serve all requests, however they park and are called in', async () => {
    const seed = testSeed()
    const workers = 4
    const requests = 20_000
    // Word 0: requests left. Word 1: served. Worker 0 to 3 work, the last thread is the monitor.
    const memory = { crew: Crew.allocate(workers), work: new SharedArrayBuffer(64) }
    const work = new Int32Array(memory.work)
    work[0] = requests
    new Crew(memory.crew).callIn(0)
    await hammer({
      data: Array.from({ length: workers + 1 }, (_, w) => ({ ...memory, w, isMonitor: w === workers })),
      imports: { 'daemon/crew.js': 'Crew, WORKER_STATE' },
      seed,
      body: `
        const crew = new Crew(data.crew)
        const work = new Int32Array(data.work)
        const { w } = data
        if (data.isMonitor) {
          while (Atomics.load(work, 1) < ${requests}) {
            const states = Array.from({ length: crew.size }, (_, i) => crew.state(i))
            if (crew.workersIn < 0 || crew.workersIn > crew.size) throw new Error(crew.workersIn + ' are in')
            if (!states.includes(WORKER_STATE.RECEIVING) || random(4) === 0) crew.callAnyIn()
            crew.sleep(1, random(50) === 0)
          }
          for (let i = 0; i < crew.size; i++) crew.callIn(i)
          return
        }
        while (Atomics.load(work, 1) < ${requests}) {
          if (!crew.waitUntilCalled(w, 50)) continue
          const left = Atomics.sub(work, 0, 1)
          if (left > 0) {
            crew.began(w, left, 0)
            for (let wait = random(200); wait > 0; wait--);
            crew.ended(w)
            Atomics.add(work, 1, 1)
          } else Atomics.add(work, 0, 1)
          if (random(3) === 0) crew.parkUnlessLast(w)
        }`,
    })
    const crew = new Crew(memory.crew)
    expect(work[1], `seed ${seed}`).toBe(requests)
    let served = 0
    for (let w = 0; w < workers; w++) served += crew.served(w)
    expect(served).toBe(requests)
    expect(crew.workersIn).toBe(states(crew).filter((state) => state !== PARKED).length)
  })
})
