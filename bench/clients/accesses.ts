/** Which pages are asked for, one after the other. */
import fs from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'
import type { Accesses } from '../client.ts'
import { shuffled } from './support.ts'

export interface Sequence {
  /** Page indexes from 0 on. */
  readonly order: Int32Array
  /** How many different ones there are at most. */
  readonly pages: number
}

export function sequenceOf(accesses: Accesses): Sequence {
  return accesses.kind === 'zipf'
    ? zipf(accesses.pages, accesses.count, accesses.skew)
    : manyOf(readTrace(accesses.trace), accesses.copies)
}

/** The k-th in popularity's order is asked for 1/k^skew times as often as the first; where it lies has nothing to do with that. */
function zipf(pages: number, count: number, skew: number): Sequence {
  const sums = new Float64Array(pages)
  let sum = 0
  for (let k = 0; k < pages; k++) {
    sum += (k + 1) ** -skew
    sums[k] = sum
  }
  const place = shuffled(pages)
  let state = 1
  const order = Int32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const wanted = (state / 2 ** 32) * sum
    let low = 0
    let high = pages - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (sums[middle]! > wanted) high = middle
      else low = middle + 1
    }
    return place[low]!
  })
  return { order, pages }
}

/** A file of lines "first count": runs of pages, as in the traces of ARC's authors, compressed with Brotli. Pages are numbered anew, without gaps. */
function readTrace(file: string): Sequence {
  const numbers = new Map<number, number>()
  const order: number[] = []
  for (const line of brotliDecompressSync(fs.readFileSync(file)).toString().split('\n')) {
    const [first, count] = line.split(' ').map(Number)
    for (let i = 0; i < (count ?? 0); i++) {
      const page = first! + i
      if (!numbers.has(page)) numbers.set(page, numbers.size)
      order.push(numbers.get(page)!)
    }
  }
  return { order: Int32Array.from(order), pages: numbers.size }
}

/** As if `copies` programs ran side by side, each over pages of its own, and each at another place of the trace. */
function manyOf({ order, pages }: Sequence, copies: number): Sequence {
  const many = Int32Array.from({ length: order.length * copies }, (_, i) => {
    const copy = i % copies
    const at = Math.floor(i / copies) + Math.floor((copy * order.length) / copies)
    return copy * pages + order[at % order.length]!
  })
  return { order: many, pages: pages * copies }
}
