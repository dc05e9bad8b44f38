/** What threads on two nodes do with one file: the traces by which ways of near memory are compared. */
import { Random } from '../random.ts'

export interface Access {
  readonly node: number
  readonly page: number
  readonly isWrite: boolean
}

/** Both nodes read the file from its beginning to its end, over and over. */
export function* scan(pages: number, rounds: number): Generator<Access> {
  for (let round = 0; round < rounds; round++)
    for (let page = 0; page < pages; page++)
      // Each begins with another half: so each loads one.
      for (const node of [0, 1]) yield { node, page: (page + (node * pages) / 2) % pages, isWrite: false }
}

/** Both nodes read and write pages at random; `writes`: the share of writes. */
export function* mix(pages: number, count: number, writes: number, seed: number): Generator<Access> {
  const random = new Random(seed)
  for (let i = 0; i < count; i++)
    yield { node: i & 1, page: Math.floor(random.below(pages)), isWrite: random.chance(writes) }
}

/** Scans and mixes in turn. */
export function* phases(pages: number, times: number, seed: number): Generator<Access> {
  for (let i = 0; i < times; i++) {
    yield* scan(pages, 120)
    yield* mix(pages, 200 * pages, 0.5, seed + i)
  }
}
