import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DIRTY, type PageProbe, PageStates, type StateByte, WINDOW_PAGES } from '../../../src/inspect/page-states.ts'
import { PageState } from '../../../src/inspect/ranges.ts'

/** A kernel with one file, whose pages are in known states. */
class FakeKernel implements PageProbe {
  cached = 0
  evicted = 0
  unstable = 0
  calls = 0
  readonly #pages: StateByte[]
  readonly #mincoreLies: boolean

  constructor(pages: StateByte[], mincoreLies: boolean) {
    this.#pages = pages
    this.#mincoreLies = mincoreLies
  }

  count(_fd: number, first: number, count: number): number {
    this.calls++
    const pages = this.#pages.slice(first, first + count)
    this.cached = pages.filter((state) => state === PageState.resident || state === DIRTY).length
    this.evicted = pages.filter((state) => state === PageState.evicted).length
    this.unstable = pages.filter((state) => state === DIRTY).length
    return 0
  }

  resident(_fd: number, first: number, count: number, out: Uint8Array): number {
    this.calls++
    let resident = 0
    for (let i = 0; i < count; i++) {
      const state = this.#pages[first + i]!
      out[i] = this.#mincoreLies || state === PageState.resident || state === DIRTY ? 1 : 0
      resident += out[i]!
    }
    return resident
  }
}

const state = fc.constantFrom<StateByte>(PageState.absent, PageState.evicted, PageState.resident, DIRTY)
/** Mostly long runs, as in life. */
const pages = fc
  .array(fc.tuple(state, fc.integer({ min: 1, max: 40 })), { minLength: 1, maxLength: 12 })
  .map((runs) => runs.flatMap(([value, length]) => Array<StateByte>(length).fill(value)))

describe('PageStates', () => {
  test.each([false, true])('finds the state of every page (mincore lies: %s)', (mincoreLies) => {
    fc.assert(
      fc.property(pages, fc.nat(200), (truth, skipped) => {
        const first = Math.min(skipped, truth.length - 1)
        const reader = new PageStates(new FakeKernel(truth, mincoreLies))
        expect(reader.read(0, first, truth.length - first, true)).toBe(0)
        expect([...reader.states.slice(0, truth.length - first)]).toEqual(truth.slice(first))
      }),
    )
  })

  test('knows resident from not by mincore alone', () => {
    const truth: StateByte[] = [PageState.resident, PageState.evicted, DIRTY, PageState.absent]
    const reader = new PageStates(new FakeKernel(truth, false))
    reader.read(0, 0, 4, false)
    expect([...reader.states.slice(0, 4)]).toEqual([
      PageState.resident,
      PageState.absent,
      PageState.resident,
      PageState.absent,
    ])
  })

  test('asks once where all pages are alike', () => {
    for (const value of [PageState.absent, PageState.resident]) {
      const kernel = new FakeKernel(Array(WINDOW_PAGES).fill(value), false)
      new PageStates(kernel).read(0, 0, WINDOW_PAGES, true)
      expect(kernel.calls).toBe(1)
    }
  })

  test('finds one dirty page of a window in some twenty questions', () => {
    const truth = Array<StateByte>(WINDOW_PAGES).fill(PageState.resident)
    truth[3210] = DIRTY
    const kernel = new FakeKernel(truth, false)
    const reader = new PageStates(kernel)
    reader.read(0, 0, WINDOW_PAGES, true)
    expect(reader.states[3210]).toBe(DIRTY)
    expect(kernel.calls).toBeLessThan(30)
  })

  test('ends although the file changes with every question', () => {
    let odd = 0
    const restless: PageProbe = {
      count: () => 0,
      get cached() {
        return ++odd % 3
      },
      get evicted() {
        return ++odd % 5
      },
      get unstable() {
        return ++odd % 2
      },
      resident: () => 7,
    }
    expect(new PageStates(restless).read(0, 0, WINDOW_PAGES, true)).toBe(0)
  })
})
