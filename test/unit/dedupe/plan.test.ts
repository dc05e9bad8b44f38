/** Plans over made-up devices: what they say is saved is saved, only equal pages come to share, and no long equal run is missed. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FileUses } from '../../../src/dedupe/file-uses.ts'
import { leaveStored, type Plan, planSteps } from '../../../src/dedupe/plan.ts'
import { planUnlessInterrupted } from '../../../src/dedupe/planning.ts'
import { StoredPages } from '../../../src/dedupe/stored-pages.ts'

const PAGE = 4096
const HOLE = -1
const ZEROS = 0

interface MadeUp {
  /** What lies at each address of the device; 0 for zeros. */
  readonly contents: readonly number[]
  /** Address of each page of each file, or HOLE. */
  readonly files: readonly (readonly number[])[]
  readonly domains?: readonly number[]
  /** Bytes of a file's last page. */
  readonly tails?: readonly number[]
}

interface Planned {
  readonly uses: FileUses
  readonly stored: StoredPages
  readonly plan: Plan
}

function planFor({ contents, files, domains, tails }: MadeUp, stride: number): Planned {
  const uses = new FileUses()
  files.forEach((addresses, file) => {
    const size = Math.max(0, addresses.length * PAGE - (PAGE - (tails?.[file] ?? PAGE)))
    uses.addFile({ directory: 0, name: `f${file}`, device: 1, ino: file + 1, size, domain: domains?.[file] ?? 0 })
    for (let page = 0; page < addresses.length; ) {
      let end = page + 1
      while (end < addresses.length && addresses[page] !== HOLE && addresses[end] === addresses[end - 1]! + 1) end++
      if (addresses[page] !== HOLE) uses.addUse(page * PAGE, Math.min(end * PAGE, size), addresses[page]! * PAGE, false)
      page = end
    }
  })
  const stored = new StoredPages(uses, uses.number())
  for (let use = 0; use < uses.useCount; use++) {
    const file = uses.file[use]!
    for (let i = 0; i < uses.pages[use]!; i++) {
      const page = uses.page[use]! + i
      const content = contents[files[file]![page]!]!
      const isTail = (page + 1) * PAGE > uses.size[file]!
      stored.setRead(uses.stored[use]! + i, content, isTail ? uses.size[file]! % PAGE : 0, content === ZEROS)
    }
  }
  return { uses, stored, plan: makePlan(uses, stored, stride) }
}

function makePlan(uses: FileUses, stored: StoredPages, stride: number): Plan {
  const steps = planSteps(uses, stored, stride)
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** Follows the plan; returns the address of each page of each file then. Fails where unequal pages would share, or a page moves that others came to. */
function follow({ contents, files, domains }: MadeUp, plan: Plan): number[][] {
  const after = files.map((addresses) => [...addresses])
  for (let run = 0; run < plan.count; run++) {
    const [from, to] = [plan.source[run]!, plan.target[run]!]
    const [first, target, count] = [plan.sourcePage[run]!, plan.targetPage[run]!, plan.pages[run]!]
    expect(domains?.[from]).toBe(domains?.[to])
    if (from === to) expect(first + count).toBeLessThanOrEqual(target)
    for (let i = 0; i < count; i++) {
      const source = after[from]![first + i]!
      expect(contents[source]).toBe(contents[after[to]![target + i]!])
      expect(source).not.toBe(after[to]![target + i])
      after[to]![target + i] = source
    }
  }
  return after
}

const usedPages = (files: readonly (readonly number[])[]) =>
  new Set(files.flat().filter((address) => address !== HOLE)).size

function freedBy({ uses, stored, plan }: Planned): number {
  let freed = 0
  for (let run = 0; run < plan.count; run++) freed += leaveStored(uses, stored, plan, run, 0, plan.pages[run]!)
  return freed
}

const run = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)

/** Files of runs of a device with few different contents: much is equal, shared already, torn apart, or repeated in one file. */
const madeUp = fc
  .record({
    contents: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 40, maxLength: 40 }),
    runs: fc.array(
      fc.array(fc.tuple(fc.integer({ min: -4, max: 34 }), fc.integer({ min: 1, max: 6 })), { maxLength: 8 }),
      { minLength: 1, maxLength: 5 },
    ),
    domains: fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 5, maxLength: 5 }),
    repeat: fc.integer({ min: 1, max: 8 }),
    tails: fc.array(fc.constantFrom(PAGE, PAGE, 100, 200), { minLength: 5, maxLength: 5 }),
  })
  .map(({ contents, runs, domains, repeat, tails }) => ({
    // Some stretches lie on the device twice.
    contents: contents.map((content, at) => (at % 20 < repeat ? contents[at % 20]! : content)),
    files: runs.map((pieces) => pieces.flatMap(([at, count]) => (at < 0 ? Array(count).fill(HOLE) : run(at, count)))),
    domains,
    tails,
  }))

describe('a plan', () => {
  const seed = Number(process.env.SAMEPAGE_SEED ?? Date.now() % 1e6)
  for (const stride of [1, 2, 4])
    test(`saves what it says, in runs of ${stride} and more (seed ${seed})`, () => {
      fc.assert(
        fc.property(madeUp, (device) => {
          const planned = planFor(device, stride)
          const after = follow(device, planned.plan)
          expect(freedBy(planned)).toBe(usedPages(device.files) - usedPages(after))
        }),
        { seed, numRuns: Number(process.env.SAMEPAGE_TEST_RUNS ?? 1000) },
      )
    })

  test(`finds every equal run of the length, at whatever offsets (seed ${seed})`, () => {
    const stride = 16
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 1, max: 60 }),
        (before, other, length) => {
          const all = run(1, 1000)
          // Contents at 500 … are those at 0 …, all others are different.
          const contents = all.map((content, at) => (at >= 500 && at < 500 + length ? 10_000 + at - 500 : content))
          for (let i = 0; i < length; i++) contents[i] = 10_000 + i
          const files = [
            [...run(100, before), ...run(0, length), ...run(200, 20)],
            [...run(300, other), ...run(500, length), ...run(400, 20)],
          ]
          const device = { contents, files }
          const planned = planFor(device, stride)
          follow(device, planned.plan)
          expect(freedBy(planned)).toBe(length >= stride ? length : 0)
          expect(planned.plan.count).toBe(length >= stride ? 1 : 0)
        },
      ),
      { seed },
    )
  })

  test('what many use stays where it is', () => {
    const device = {
      contents: [...run(1, 20), ...run(1, 20)],
      files: [run(0, 20), run(20, 20), run(20, 20), run(20, 20)],
    }
    const uses = planFor(device, 4).uses
    uses.isShared.fill(1, 1, 4)
    for (const file of [1, 2, 3]) uses.sharedPages[file] = 20
    const stored = new StoredPages(uses, uses.number())
    for (let page = 0; page < 40; page++) stored.setRead(page, device.contents[page]!, 0, false)
    const plan = makePlan(uses, stored, 4)
    expect(plan.count).toBe(1)
    expect([plan.source[0], plan.target[0], plan.pages[0]]).toEqual([1, 0, 20])
  })

  test('a page that others use too, elsewhere, is not said to be saved', () => {
    const device = { contents: [...run(1, 8), ...run(1, 8)], files: [run(0, 8), run(8, 8)] }
    const { uses } = planFor(device, 4)
    uses.isShared[1] = 1
    const stored = new StoredPages(uses, uses.number())
    for (let page = 0; page < 16; page++) stored.setRead(page, device.contents[page]!, 0, false)
    const plan = makePlan(uses, stored, 4)
    expect(plan.count).toBe(1)
    expect(freedBy({ uses, stored, plan })).toBe(0)
  })

  test('zeros alone are left alone; within an equal run they go with it', () => {
    const zeros = Array(8).fill(ZEROS)
    const alone = { contents: [...zeros, ...zeros], files: [run(0, 8), run(8, 8)] }
    expect(planFor(alone, 4).plan.count).toBe(0)
    const content = [1, 2, ...zeros, 3, 4]
    const within = { contents: [...content, ...content], files: [run(0, 12), run(12, 12)] }
    expect(freedBy(planFor(within, 4))).toBe(12)
  })

  test('the last page of a file is equal to last pages of the same length only', () => {
    const contents = [...run(1, 8), ...run(1, 8)]
    const files = [run(0, 8), run(8, 8)]
    expect(freedBy(planFor({ contents, files, tails: [100, 100] }, 8))).toBe(8)
    expect(freedBy(planFor({ contents, files, tails: [100, PAGE] }, 7))).toBe(7)
    expect(freedBy(planFor({ contents, files, tails: [100, 101] }, 8))).toBe(0)
  })

  test('a page that stays, as the last one of a file that ends in it, is not said to be saved', () => {
    const contents = [...run(1, 8), ...run(1, 8)]
    const files = [run(0, 8), run(8, 8), run(8, 8)]
    const planned = planFor({ contents, files, tails: [PAGE, PAGE, 100] }, 4)
    expect(usedPages(follow({ contents, files }, planned.plan))).toBe(9)
    expect(freedBy(planned)).toBe(7)
  })

  test('a page that could not be read is equal to none', () => {
    const device = { contents: [...run(1, 8), ...run(1, 8)], files: [run(0, 8), run(8, 8)] }
    const { uses } = planFor(device, 4)
    const stored = new StoredPages(uses, uses.number())
    for (let page = 0; page < 16; page++) if (page !== 3) stored.setRead(page, device.contents[page]!, 0, false)
    const plan = makePlan(uses, stored, 4)
    expect(freedBy({ uses, stored, plan })).toBe(4)
  })

  test('is left at once when it is interrupted, also in the midst of one large file; else it is the same', async () => {
    // Half a second and more as a whole: nothing is equal, so each page is looked at.
    const pages = 2_000_000
    const uses = new FileUses()
    uses.addFile({ directory: 0, name: 'f', device: 1, ino: 1, size: pages * PAGE, domain: 0 })
    uses.addUse(0, pages * PAGE, 0, false)
    const stored = new StoredPages(uses, uses.number())
    for (let page = 0; page < pages; page++) stored.setRead(page, page + 1, 0, false)
    let asked = 0
    let files = 0
    const onFile = () => void files++
    const isInterrupted = () => ++asked === 3
    expect(await planUnlessInterrupted(uses, stored, 4, { isInterrupted, onFile })).toBeUndefined()
    expect({ asked, files }).toEqual({ asked: 3, files: 0 })

    const equal = { contents: [...run(1, 20), ...run(1, 20)], files: [run(0, 20), run(20, 20)] }
    const planned = planFor(equal, 4)
    const fresh = planFor(equal, 4)
    const again = new StoredPages(fresh.uses, fresh.uses.number())
    for (let page = 0; page < 40; page++) again.setRead(page, equal.contents[page]!, 0, false)
    const plan = await planUnlessInterrupted(fresh.uses, again, 4, { isInterrupted: () => false, onFile })
    expect([plan?.count, plan?.pages[0]]).toEqual([planned.plan.count, planned.plan.pages[0]])
    expect(files).toBe(2)
  })
})
