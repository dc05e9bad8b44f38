import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ADVICE, Readahead, WINDOW_MAX } from '../../../src/cache/readahead.ts'

const misses = fc.array(
  fc.record({
    page: fc.integer({ min: 0, max: 10_000 }),
    count: fc.integer({ min: 1, max: 2000 }),
    reaches: fc.boolean(),
    advice: fc.constantFrom(...Object.values(ADVICE)),
  }),
  { maxLength: 40 },
)

test('never loads fewer pages than are wanted, nor more ahead than a window', () => {
  fc.assert(
    fc.property(misses, (list) => {
      const readahead = new Readahead()
      for (const { page, count, reaches, advice } of list) {
        readahead.advice = advice
        const { marker } = readahead
        const pages = readahead.missed(page, count)
        expect(pages).toBeGreaterThanOrEqual(count)
        expect(pages).toBeLessThanOrEqual(Math.max(count, WINDOW_MAX))
        if (advice === ADVICE.RANDOM) expect([pages, readahead.marker]).toEqual([count, Number.POSITIVE_INFINITY])
        else if (readahead.marker === marker) expect(pages).toBe(count)
        else if (readahead.marker !== Number.POSITIVE_INFINITY) {
          // Within what is loaded, or just behind it: so the next window begins where this one ends.
          expect(readahead.marker).toBeLessThanOrEqual(page + pages)
          if (reaches) {
            expect(readahead.reached(page)).toBe(page + pages)
            expect(readahead.window).toBeGreaterThan(0)
            expect(readahead.window).toBeLessThanOrEqual(WINDOW_MAX)
          }
        }
      }
    }),
  )
})

test('a sequential reader gets windows that double', () => {
  const readahead = new Readahead()
  const windows: number[] = []
  for (let page = 0; windows.length < 9; ) {
    const pages = readahead.missed(page, 1)
    windows.push(pages)
    page += pages
  }
  expect(windows).toEqual([4, 8, 16, 32, 64, 128, 256, 256, 256])
})

test('windows ahead follow one another without gaps', () => {
  const readahead = new Readahead()
  let end = readahead.missed(0, 1)
  for (let i = 0; i < 12; i++) {
    expect(readahead.reached(end - 1)).toBe(end)
    end += readahead.window
    expect(readahead.marker).toBeGreaterThanOrEqual(end - 2 * readahead.window)
    expect(readahead.marker).toBeLessThan(end)
  }
  expect(readahead.window).toBe(WINDOW_MAX)
})

test('a reader that has caught up with what is read ahead for it goes on being sequential', () => {
  const readahead = new Readahead()
  let end = readahead.missed(0, 1)
  for (let i = 0; i < 10; i++) {
    readahead.reached(end - 1)
    // The first page of the window is still being read.
    expect(readahead.missed(end, 2)).toBe(2)
    end += readahead.window
  }
  expect(readahead.window).toBe(WINDOW_MAX)
  expect(readahead.missed(end, 1)).toBe(WINDOW_MAX)
})

test('a hit beyond the next window opens none, and the reader goes on after it', () => {
  const readahead = new Readahead()
  let end = readahead.missed(0, 1)
  for (let i = 0; i < 8; i++) {
    for (let hits = 0; hits < 8; hits++) expect(readahead.reached(end + readahead.window + hits)).toBeUndefined()
    expect(readahead.reached(end - 1)).toBe(end)
    end += readahead.window
  }
  expect(readahead.window).toBe(WINDOW_MAX)
})

test('many hits in a row beyond the next window end it: the reader is somewhere else', () => {
  const readahead = new Readahead()
  const end = readahead.missed(0, 1)
  let hits = 0
  for (; readahead.marker !== Number.POSITIVE_INFINITY; hits++)
    expect(readahead.reached(end + readahead.window)).toBeUndefined()
  expect(hits).toBeLessThan(100)
  // Where it was it can go on.
  expect(readahead.missed(end, 1)).toBe(4)
  expect(readahead.reached(end + 7)).toBe(end + 4)
})

test('a window is a small part of what the cache may have', () => {
  const readahead = new Readahead()
  readahead.fit(160)
  expect(readahead.missed(0, 1)).toBe(4)
  const ahead = Array.from({ length: 4 }, () => [readahead.reached(readahead.marker), readahead.window])
  expect(ahead).toEqual([
    [4, 8],
    [12, 10],
    [22, 10],
    [32, 10],
  ])
  readahead.advice = ADVICE.SEQUENTIAL
  expect(readahead.missed(1000, 1)).toBe(10)
  readahead.fit(5)
  expect(readahead.missed(2000, 1)).toBe(1)
  // What is wanted is wanted.
  expect(readahead.missed(3000, 20)).toBe(20)
})

test('a random reader gets what it wants; when it goes on from there it is sequential', () => {
  const readahead = new Readahead()
  expect([readahead.missed(77, 2), readahead.missed(900, 1), readahead.missed(5, 3)]).toEqual([2, 1, 3])
  expect(readahead.missed(8, 1)).toBeGreaterThan(1)
})

test('advice: sequential reads a whole window at once, random never reads ahead', () => {
  const readahead = new Readahead()
  readahead.advice = ADVICE.SEQUENTIAL
  expect(readahead.missed(50, 1)).toBe(WINDOW_MAX)
  readahead.advice = ADVICE.RANDOM
  expect([readahead.missed(0, 1), readahead.missed(1, 1)]).toEqual([1, 1])
})

test('who is in a window and says that reads are at random from now on has nothing more read ahead', () => {
  const readahead = new Readahead()
  readahead.missed(0, 1)
  readahead.reached(2)
  readahead.advice = ADVICE.RANDOM
  expect(readahead.marker).toBe(Number.POSITIVE_INFINITY)
  expect(readahead.missed(3, 1)).toBe(1)
  readahead.advice = ADVICE.NORMAL
  expect(readahead.marker).toBe(Number.POSITIVE_INFINITY)
  expect(readahead.missed(4, 1)).toBe(4)
})
