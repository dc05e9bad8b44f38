/** Traces made up from a seed, each one way to read that policies are known to differ by. */
import { Random } from '../random.ts'
import { type Trace, TraceBuilder } from './trace.ts'

const SEED = 7

/** Pages in popularity's order: the k-th is asked for 1/k^skew times as often as the first. */
class Zipf {
  readonly #sums: Float64Array
  readonly #random: Random
  readonly #first: number

  constructor(random: Random, first: number, pages: number, skew: number) {
    this.#random = random
    this.#first = first
    this.#sums = new Float64Array(pages)
    let sum = 0
    for (let page = 0; page < pages; page++) {
      sum += (page + 1) ** -skew
      this.#sums[page] = sum
    }
  }

  next(): number {
    const sums = this.#sums
    const wanted = (this.#random.next() / 2 ** 32) * sums[sums.length - 1]!
    let low = 0
    let high = sums.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (sums[middle]! > wanted) high = middle
      else low = middle + 1
    }
    return this.#first + low
  }
}

/** Some pages are asked for much more often than others, and that never changes. */
export function zipf(skew: number, pages = 10_000, accesses = 150_000): Trace {
  const trace = new TraceBuilder()
  const popular = new Zipf(new Random(SEED), 0, pages, skew)
  for (let i = 0; i < accesses; i++) trace.add(popular.next())
  return trace.build(`zipf ${skew}`)
}

/** Popular pages, and now and then somebody reads a long file of which no page is asked for again. */
export function zipfAndScans(pages = 5000, accesses = 150_000): Trace {
  const trace = new TraceBuilder()
  const random = new Random(SEED)
  const popular = new Zipf(random, 0, pages, 0.9)
  let scanned = pages
  for (let i = 0; i < accesses; i++) {
    if (random.chance(1 / 15_000)) {
      trace.addRun(scanned, 4000)
      scanned += 4000
    }
    trace.add(popular.next())
  }
  return trace.build('zipf and scans')
}

/** The same pages over and over, more than the cache holds: the worst that can happen to LRU. */
export function loop(pages = 4000, rounds = 25): Trace {
  const trace = new TraceBuilder()
  for (let round = 0; round < rounds; round++) trace.addRun(0, pages)
  return trace.build('loop')
}

/** A loop beside popular pages. */
function zipfAndLoop(pages = 4000, accesses = 150_000): Trace {
  const trace = new TraceBuilder()
  const random = new Random(SEED)
  const popular = new Zipf(random, 0, pages, 0.9)
  let looped = 0
  for (let i = 0; i < accesses; i++) {
    if (random.chance(0.5)) trace.add(popular.next())
    else {
      trace.add(pages + looped)
      looped = (looped + 1) % pages
    }
  }
  return trace.build('zipf and loop')
}

/** What is popular changes all at once, several times: who holds on to old favourites loses. */
function phases(pages = 4000, accesses = 25_000, count = 6): Trace {
  const trace = new TraceBuilder()
  for (let phase = 0; phase < count; phase++) {
    const popular = new Zipf(new Random(SEED + phase), (phase % 4) * pages, pages, 0.8)
    for (let i = 0; i < accesses; i++) trace.add(popular.next())
  }
  return trace.build('phases')
}

/** A window that moves on: what was read just now is read again soon, and then never: the best that can happen to LRU. */
export function drift(pages = 20_000, window = 1500, accesses = 150_000): Trace {
  const trace = new TraceBuilder()
  const random = new Random(SEED)
  for (let i = 0; i < accesses; i++) {
    const back = Math.min(random.below(window), random.below(window))
    trace.add(Math.max(0, Math.floor((i / accesses) * pages) - back))
  }
  return trace.build('drift')
}

/** Drifting, then a loop, then popular pages: who has adapted to the one must find back for the next. */
function driftThenLoop(pages = 3000, accesses = 50_000): Trace {
  const trace = new TraceBuilder()
  const random = new Random(SEED)
  for (let i = 0; i < accesses; i++) trace.add(Math.floor((i / accesses) * pages) + random.below(1500))
  for (let i = 0; i < accesses; i++) trace.add(2 * pages + (i % pages))
  const popular = new Zipf(random, 3 * pages, pages, 0.8)
  for (let i = 0; i < accesses; i++) trace.add(popular.next())
  return trace.build('drift, loop, zipf')
}

/**
 * Clones of one image: each guest boots (reads the same start of it), then has favourites of its own among the shared pages, and some
 * pages that only it has; now and then one is scanned as a whole.
 */
function cloneFarm(clones = 24, image = 6000, own = 300, accesses = 150_000): Trace {
  const trace = new TraceBuilder()
  const random = new Random(SEED)
  const guests = Array.from({ length: clones }, (_, clone) => ({
    shared: new Zipf(random, 0, image, 0.8),
    shift: random.below(image),
    own: new Zipf(random, image + clone * own, own, 0.7),
  }))
  for (let i = 0; i < accesses; i++) {
    if (random.chance(1 / 4000)) trace.addRun(0, image / 6)
    if (random.chance(1 / 30_000)) trace.addRun(0, image)
    const guest = random.pick(guests)
    if (random.chance(0.3)) trace.add(guest.own.next())
    else if (random.chance(0.6)) trace.add(guest.shared.next())
    else trace.add((guest.shared.next() + guest.shift) % image)
  }
  return trace.build('clone farm')
}

export const SYNTHETIC: readonly (() => Trace)[] = [
  () => zipf(0.6),
  () => zipf(0.9),
  () => zipf(1.2),
  zipfAndScans,
  loop,
  zipfAndLoop,
  phases,
  drift,
  driftThenLoop,
  cloneFarm,
]
