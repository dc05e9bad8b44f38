import { beforeEach, expect, test, vi } from 'vitest'
import { AttendedFiles } from '../../../../src/daemon/grants/attended-files.ts'
import { Random } from '../../../support/random.ts'

const SEED = Number(process.env.SAMEPAGE_SEED ?? 1)
const FILES_MAX = 262_144
/** Words of the header, and of a file. */
const WORDS = 4

let words: Int32Array<SharedArrayBuffer>
let files: AttendedFiles

beforeEach(() => {
  words = new Int32Array(new SharedArrayBuffer(AttendedFiles.WORDS * 4))
  // What AttendedFiles.begin leaves to chance.
  words[2] = SEED
  files = new AttendedFiles(words)
})

/** The file in a place, by its number; 0 where there is none. */
const inPlace = (place: number): number => {
  const at = WORDS + place * WORDS
  return words[at] === 0 ? 0 : words[at + 2]!
}

test(`a file is there from the moment on that it is added until it is removed, whatever others are (seed ${SEED})`, () => {
  const random = new Random(SEED)
  const there = new Set<number>()
  for (let i = 1; i <= 200_000; i++) {
    files.add(0, i, 0)
    there.add(i)
  }
  for (let step = 0; step < 100_000; step++) {
    const file = 1 + random.below(300_000)
    if (there.delete(file)) files.remove(0, file, 0)
    else if (there.size < FILES_MAX) {
      expect(files.add(0, file, 0)).toBe(true)
      there.add(file)
    }
  }
  const wrong: number[] = []
  for (let file = 1; file <= 300_000; file++) if (files.has(0, file, 0) !== there.has(file)) wrong.push(file)
  expect(wrong).toEqual([])
  for (const file of there) files.remove(0, file, 0)
  expect(words.slice(WORDS).some((word, i) => i % WORDS === 0 && word !== 0)).toBe(false)
})

test('inodes of equal numbers in different file systems are different files', () => {
  files.add(1, -7, 2)
  expect([files.has(1, -7, 2), files.has(2, -7, 2), files.has(1, -7, 3), files.has(1, 7, 2)]).toEqual([
    true,
    false,
    false,
    false,
  ])
  files.remove(2, -7, 2)
  expect(files.has(1, -7, 2)).toBe(true)
})

test('there is room for as many as is promised, and then for no more', () => {
  for (let i = 1; i <= FILES_MAX; i++) if (!files.add(0, i, 0)) expect.fail(`no room for file ${i}`)
  expect(files.add(0, FILES_MAX + 1, 0)).toBe(false)
  files.remove(0, 5, 0)
  expect(files.add(0, FILES_MAX + 1, 0)).toBe(true)
})

test('who looks for a file while it moves up finds it, at whatever moment it does', () => {
  for (let i = 1; i <= 200_000; i++) files.add(0, i, 0)
  const load = Atomics.load
  let looked = 0
  let moved = 0
  const spy = vi.spyOn(Atomics, 'load')
  try {
    for (let place = 1; looked < 200; place++) {
      const [before, file] = [inPlace(place - 1), inPlace(place)]
      if (before === 0 || file === 0) continue
      looked++
      const from = WORDS + (place - 1) * WORDS
      const [used, part] = [words[0]!, words.slice(from, from + 1000)]
      for (let moment = 0; moment < 20; moment++) {
        let loads = 0
        spy.mockImplementation(((array: Int32Array, index: number) => {
          if (loads++ === moment) files.remove(0, before, 0)
          return load(array, index)
        }) as typeof Atomics.load)
        const found = files.has(0, file, 0)
        spy.mockImplementation(load as typeof Atomics.load)
        expect(found).toBe(true)
        if (inPlace(place) !== file) moved++
        // As it was.
        words[0] = used
        words.set(part, from)
      }
    }
  } finally {
    spy.mockRestore()
  }
  expect(moved).toBeGreaterThan(100)
})

test('who looks while files move for longer than he looks is told that his is there', () => {
  files.add(0, 1, 0)
  expect(files.has(0, 2, 0)).toBe(false)
  words[1] = 1
  expect([files.has(0, 1, 0), files.has(0, 2, 0)]).toEqual([true, true])
  words[1] = 2
  expect(files.has(0, 2, 0)).toBe(false)
})
