/** Sorting without objects: the order of the values of a column, as a column of indexes. */

/** Runs of this many are sorted by insertion before merging begins. */
const RUN = 16

/**
 * The indexes 0 … count - 1, so arranged that `keys` ascends; equal keys stay in index order. Bottom-up merge sort:
 * O(n log n) whatever the order was, 8 bytes of memory per key.
 */
export function ascendingOrder(keys: Float64Array, count: number): Uint32Array {
  let from = new Uint32Array(count)
  let to = new Uint32Array(count)
  for (let i = 0; i < count; i++) from[i] = i
  for (let low = 0; low < count; low += RUN) insertionSort(keys, from, low, Math.min(low + RUN, count))
  for (let width = RUN; width < count; width *= 2) {
    for (let low = 0; low < count; low += 2 * width) {
      merge(keys, from, to, low, Math.min(low + width, count), Math.min(low + 2 * width, count))
    }
    ;[from, to] = [to, from]
  }
  return from
}

function insertionSort(keys: Float64Array, order: Uint32Array, low: number, high: number): void {
  for (let i = low + 1; i < high; i++) {
    const index = order[i]!
    const key = keys[index]!
    let hole = i
    while (hole > low && keys[order[hole - 1]!]! > key) {
      order[hole] = order[hole - 1]!
      hole--
    }
    order[hole] = index
  }
}

function merge(
  keys: Float64Array,
  from: Uint32Array,
  to: Uint32Array,
  low: number,
  middle: number,
  high: number,
): void {
  let left = low
  let right = middle
  for (let out = low; out < high; out++) {
    const takeLeft = right === high || (left < middle && keys[from[left]!]! <= keys[from[right]!]!)
    to[out] = takeLeft ? from[left++]! : from[right++]!
  }
}
