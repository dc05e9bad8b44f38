/**
 * The pure part of the proof against a model that is too simple to be wrong: sector by sector, page by page, for extents
 * that no file system would tell in this mixture.
 */
import { PAGE_BYTES } from '../cache/entry.ts'
import { type Hint, isStillAt, proveStretch, stretchHints } from '../homes/proof.ts'
import { ExtentFlag, ExtentList, isAddressable, isShareable } from '../storage/extents.ts'
import type { Random } from './random.ts'

const SECTOR = 1024
const FLAGS = [
  ...Array<number>(8).fill(ExtentFlag.SHARED),
  0,
  ExtentFlag.SHARED | ExtentFlag.ENCODED,
  ExtentFlag.SHARED | ExtentFlag.UNWRITTEN,
  ExtentFlag.UNWRITTEN,
  ExtentFlag.UNWRITTEN | ExtentFlag.DELALLOC,
]

interface ModelHome {
  readonly name: string
  readonly size: number
  readonly extents: ExtentList
}

/** One sector as a list tells it. */
interface Sector {
  readonly physical: number
  readonly flags: number
}

/** Throws when the proof concludes more, or less, than the model. */
export function checkProofModel(random: Random): void {
  const size = random.between(1, 10 * PAGE_BYTES)
  const before = randomExtents(random, 0)
  const after = random.chance(0.5) ? before : varied(random, before)
  const homes: ModelHome[] = ['one', 'other'].map((name) => ({
    name,
    size: random.between(PAGE_BYTES, 12 * PAGE_BYTES),
    // Mostly what the file has, elsewhere.
    extents: random.chance(0.8) ? varied(random, before) : randomExtents(random, random.below(3) * SECTOR),
  }))
  const hints = randomHints(random, before, homes, size)
  const found = new Map<number, string>()
  for (const stretch of stretchHints(hints, size)) {
    for (const run of proveStretch(stretch, before, stretch.home.extents, after, size)) {
      for (let i = 0; i < run.pageCount; i++) {
        if (found.has(run.filePage + i)) throw new Error(`page ${run.filePage + i} is proved twice`)
        found.set(run.filePage + i, `${run.home.name} ${run.homePage + i}`)
      }
    }
  }

  const aligned = hints.filter((hint) => Math.abs(hint.shift) % PAGE_BYTES === 0)
  for (let page = 0; page * PAGE_BYTES < size; page++) {
    const expected = pageByModel(page, aligned, before, after, size)
    if (found.get(page) !== expected) {
      const lists = [before, after, ...homes.map((home) => home.extents)].join('\n--\n')
      throw new Error(
        `page ${page} of ${size} bytes: ${found.get(page)} is proved, the model says ${expected}\n${lists}`,
      )
    }
  }
  for (const hint of hints) {
    if (isStillAt(hint, hint.home.extents) !== isAtByModel(hint))
      throw new Error(`the hint for ${hint.home.name} is misjudged`)
  }
}

/** `one 7`: the page is page 7 of home one. */
function pageByModel(
  page: number,
  hints: readonly Hint<ModelHome>[],
  before: ExtentList,
  after: ExtentList,
  size: number,
): string | undefined {
  const start = page * PAGE_BYTES
  const end = Math.min(start + PAGE_BYTES, size)
  const speakers = new Set<string>()
  let speaker: Hint<ModelHome> | undefined
  for (let at = start; at < end; at += SECTOR) {
    speaker = hints.findLast((hint) => hint.start <= at) ?? hints[0]
    if (speaker === undefined) return undefined
    const { home, shift } = speaker
    speakers.add(`${home.name} ${shift}`)
    if (at + shift < 0 || Math.min(at + SECTOR, end) + shift > home.size) return undefined
    const [f1, f2, h] = [sectorOf(before, at), sectorOf(after, at), sectorOf(home.extents, at + shift)]
    if (!isEqual(f1, h) || !isEqual(f1, f2)) return undefined
  }
  if (speakers.size !== 1) return undefined
  return `${speaker!.home.name} ${page + speaker!.shift / PAGE_BYTES}`
}

function isEqual(a: Sector | undefined, b: Sector | undefined): boolean {
  if (isZeroSector(a)) return isZeroSector(b)
  if (isZeroSector(b)) return false
  return isShareable(a!.flags) && isShareable(b!.flags) && a!.physical === b!.physical
}

function isZeroSector(sector: Sector | undefined): boolean {
  return sector === undefined || ((sector.flags & ExtentFlag.UNWRITTEN) !== 0 && isAddressable(sector.flags))
}

function isAtByModel({ start, end, shift, physical, home }: Hint<ModelHome>): boolean {
  for (let at = start; at < end; at += SECTOR) {
    const sector = sectorOf(home.extents, at + shift)
    if (isZeroSector(sector) || !isAddressable(sector!.flags) || sector!.physical !== physical + (at - start))
      return false
  }
  return true
}

function sectorOf(list: ExtentList, at: number): Sector | undefined {
  const extent = list.toArray().find((e) => e.logical <= at && at < e.logical + e.length)
  if (extent === undefined) return undefined
  const { logical, physical, flags } = extent
  return { physical: isAddressable(flags) ? physical + (at - logical) : physical, flags }
}

function randomExtents(random: Random, shift: number): ExtentList {
  const list = new ExtentList()
  let at = 0
  while (at < 14 * PAGE_BYTES) {
    const length = random.between(1, 20) * SECTOR
    if (random.chance(0.85)) list.append(at, 2 ** 20 + at + shift, length, random.pick(FLAGS))
    at += length + (random.chance(0.15) ? random.between(1, 8) * SECTOR : 0)
  }
  return list
}

/** The same with some parts elsewhere, of another kind, or missing. */
function varied(random: Random, list: ExtentList): ExtentList {
  const result = new ExtentList()
  for (const { logical, physical, length, flags } of list.toArray()) {
    const cut = random.chance(0.3) ? random.below(length / SECTOR) * SECTOR : 0
    const addressed = isAddressable(flags)
    result.append(logical, physical, cut, flags)
    const rest = addressed ? physical + cut : physical
    if (random.chance(0.75)) result.append(logical + cut, rest, length - cut, flags)
    else if (random.chance(0.5)) result.append(logical + cut, 2 ** 22 + rest, length - cut, random.pick(FLAGS))
  }
  return result
}

/** Disjoint hints in file order, some true, some not, some not aligned to pages. */
function randomHints(random: Random, before: ExtentList, homes: readonly ModelHome[], size: number): Hint<ModelHome>[] {
  const hints: Hint<ModelHome>[] = []
  let shift = 0
  let home = homes[0]!
  for (const { logical, physical, length, flags } of before.toArray()) {
    if (logical + length > size || !isShareable(flags) || random.chance(0.3)) continue
    if (random.chance(0.3)) home = random.pick(homes)
    if (random.chance(0.3))
      shift = random.chance(0.8) ? random.between(-2, 2) * PAGE_BYTES : random.between(-3, 3) * SECTOR
    if (logical + shift < 0) continue
    hints.push({ start: logical, end: logical + length, home, shift, physical })
  }
  return hints
}
