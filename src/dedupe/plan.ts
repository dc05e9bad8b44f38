/**
 * Which runs of which files are to share with which others.
 *
 * Files are gone through one after the other, those that share most first: what many use stays where it is, and the others come to it. A page is
 * compared with what was gone through before (anchors.ts), and where one is equal the run is followed in both directions. A run of `stride` pages or more becomes a part of
 * the plan, but for what shares already. All other pages are kept, and others may come to them.
 *
 * Invariants:
 * - the runs of a file come in file order and do not overlap: no page moves twice;
 * - where a run comes from was gone through before, so it does not move any more after it: a plan that is followed in its order ends where it says.
 */
import { makeRoom } from '../inspect/columns.ts'
import { Anchors } from './anchors.ts'
import { type FileUses, Position } from './file-uses.ts'
import type { StoredPages } from './stored-pages.ts'

const CAPACITY_MIN = 64

/** Runs to be shared, in the order in which that is to be done: 28 bytes each. Pages are indexes in files. */
export class Plan {
  count = 0
  source = new Uint32Array(CAPACITY_MIN)
  sourcePage = new Float64Array(CAPACITY_MIN)
  target = new Uint32Array(CAPACITY_MIN)
  targetPage = new Float64Array(CAPACITY_MIN)
  pages = new Uint32Array(CAPACITY_MIN)

  /** Adds a run, as part of the last one where it continues that and a file does not come to overlap itself. */
  add(source: number, sourcePage: number, target: number, targetPage: number, pages: number): void {
    const last = this.count - 1
    if (
      last >= 0 &&
      this.source[last] === source &&
      this.target[last] === target &&
      this.sourcePage[last]! + this.pages[last]! === sourcePage &&
      this.targetPage[last]! + this.pages[last]! === targetPage &&
      (source !== target || sourcePage + pages <= this.targetPage[last]!)
    ) {
      this.pages[last]! += pages
      return
    }
    const at = this.count++
    if (at === this.pages.length) {
      makeRoom(this, at, 'source', 'sourcePage', 'target', 'targetPage', 'pages')
    }
    this.source[at] = source
    this.sourcePage[at] = sourcePage
    this.target[at] = target
    this.targetPage[at] = targetPage
    this.pages[at] = pages
  }
}

/**
 * Makes a plan with runs of `stride` pages and more, without I/O, in steps of milliseconds: between them the caller may look at something else, or leave it. `onFile` is called
 * after each file.
 */
export function planSteps(
  uses: FileUses,
  pages: StoredPages,
  stride: number,
  onFile: () => void = () => {},
): Generator<void, Plan, void> {
  return new Planner(uses, pages, stride).steps(onFile)
}

/** Pages gone through in one step. */
const STEP_PAGES = 1024

/** A run that was found equal. */
interface Match {
  readonly source: Position
  readonly target: Position
  readonly pages: number
}

class Planner {
  readonly #uses: FileUses
  readonly #pages: StoredPages
  readonly #stride: number
  readonly #anchors: Anchors
  readonly #plan = new Plan()
  /** The runs of the plan that move pages of a file are [firstRun, endRun). */
  readonly #firstRun: Uint32Array
  readonly #endRun: Uint32Array

  constructor(uses: FileUses, pages: StoredPages, stride: number) {
    this.#uses = uses
    this.#pages = pages
    this.#stride = stride
    this.#anchors = new Anchors(uses, pages)
    this.#firstRun = new Uint32Array(uses.fileCount)
    this.#endRun = new Uint32Array(uses.fileCount)
  }

  *steps(onFile: () => void): Generator<void, Plan, void> {
    const { fileCount, sharedPages } = this.#uses
    const files = Array.from({ length: fileCount }, (_, file) => file)
    for (const file of files.sort((a, b) => sharedPages[b]! - sharedPages[a]! || a - b)) {
      this.#firstRun[file] = this.#endRun[file] = this.#plan.count
      yield* this.#planFile(file)
      onFile()
      yield
    }
    return this.#plan
  }

  *#planFile(file: number): Generator<void, void, void> {
    const end = this.#uses.endUse[file]!
    let at = new Position(this.#uses, this.#uses.firstUse[file]!, 0)
    /** The first page of which it is not decided yet whether it moves: a run may reach back to it. */
    const undecided = at.copy()
    for (let looks = 1; at.use < end; looks++) {
      if (looks % STEP_PAGES === 0) yield
      const match = this.#pages.isOpen(at.stored) ? this.#longestMatch(at, undecided.page) : undefined
      if (match === undefined) at.step()
      else {
        while (undecided.page < match.target.page) this.#keep(undecided)
        this.#addRun(match)
        for (let i = 0; i < match.pages; i++) undecided.step()
        at = undecided.copy()
      }
      while (undecided.use < end && (at.use === end || undecided.page <= at.page - this.#stride)) this.#keep(undecided)
    }
  }

  /** The page stays where it is; on to the next. */
  #keep(position: Position): void {
    const { stored } = position
    this.#pages.keep(stored)
    if (position.page % this.#stride === 0 && this.#pages.isDistinctive(stored)) this.#anchors.add(position)
    position.step()
  }

  /** The longest run of equal pages around `at` that is long enough, and does not begin before page `floor`. */
  #longestMatch(at: Position, floor: number): Match | undefined {
    let best: Match | undefined
    this.#anchors.find(at, (place) => {
      const match = this.#follow(place, at, floor)
      if (match.pages >= (best === undefined ? this.#stride : best.pages + 1)) best = match
    })
    return best
  }

  /** The run of equal pages around two that are equal. */
  #follow(place: Position, at: Position, floor: number): Match {
    const { file } = this.#uses
    const source = place.copy()
    const target = at.copy()
    let pages = 1
    while (target.page > floor && target.back()) {
      if (source.back()) {
        if (this.#pages.areEqual(source.stored, target.stored)) {
          pages++
          continue
        }
        source.forward()
      }
      target.forward()
      break
    }
    // In one file they must not overlap.
    const isOneFile = file[place.use] === file[at.use]
    const pagesMax = isOneFile ? at.page - place.page : Number.POSITIVE_INFINITY
    const ahead = place.copy()
    const aheadTarget = at.copy()
    while (pages < pagesMax && ahead.forward() && aheadTarget.forward()) {
      if (!this.#pages.areEqual(ahead.stored, aheadTarget.stored)) break
      pages++
    }
    return { source, target, pages: Math.min(pages, pagesMax) }
  }

  /** Adds to the plan what of a run does not share already. */
  #addRun({ source, target, pages }: Match): void {
    const { file, page, pages: length, stored } = this.#uses
    const from = file[source.use]!
    const to = file[target.use]!
    for (let done = 0; done < pages; ) {
      const there = this.#locate(from, source.page + done)
      const use = this.#uses.useOf(to, target.page + done)
      const offset = target.page + done - page[use]!
      const count = Math.min(there.pages, length[use]! - offset, pages - done)
      if (there.stored !== stored[use]! + offset)
        this.#plan.add(from, source.page + done, to, target.page + done, count)
      done += count
    }
    this.#endRun[to] = this.#plan.count
  }

  /** The stored page that a page of a file will use, as planned so far, and for how many pages from there on both go on side by side. */
  #locate(file: number, page: number): { stored: number; pages: number } {
    const plan = this.#plan
    const uses = this.#uses
    let pages = Number.POSITIVE_INFINITY
    for (let [at, inFile] = [page, file]; ; ) {
      const run = this.#lastRun(inFile, at)
      const next = run + 1
      if (next < this.#endRun[inFile]!) pages = Math.min(pages, plan.targetPage[next]! - at)
      const runEnd = run < this.#firstRun[inFile]! ? 0 : plan.targetPage[run]! + plan.pages[run]!
      if (at >= runEnd) {
        const use = uses.useOf(inFile, at)
        const offset = at - uses.page[use]!
        return { stored: uses.stored[use]! + offset, pages: Math.min(pages, uses.pages[use]! - offset) }
      }
      pages = Math.min(pages, runEnd - at)
      at += plan.sourcePage[run]! - plan.targetPage[run]!
      inFile = plan.source[run]!
    }
  }

  /** The last run of a file that begins at `page` or before; the one before its first if none does. */
  #lastRun(file: number, page: number): number {
    let low = this.#firstRun[file]! - 1
    let high = this.#endRun[file]! - 1
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (this.#plan.targetPage[middle]! <= page) low = middle
      else high = middle - 1
    }
    return low
  }
}

/** Counts that `count` pages of run `run`, from its page `first` on, have come to share. Returns how many stored pages nobody uses any more. */
export function leaveStored(
  uses: FileUses,
  stored: StoredPages,
  plan: Plan,
  run: number,
  first: number,
  count: number,
): number {
  let freed = 0
  const file = plan.target[run]!
  const end = plan.targetPage[run]! + first + count
  for (let page = plan.targetPage[run]! + first; page < end; ) {
    const use = uses.useOf(file, page)
    const useEnd = Math.min(end, uses.page[use]! + uses.pages[use]!)
    for (; page < useEnd; page++) if (stored.leave(uses.stored[use]! + page - uses.page[use]!)) freed++
  }
  return freed
}
