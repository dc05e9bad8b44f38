import { MinHeap } from './heap.ts'

/**
 * The `count` first of `items` (integers) in descending order of `keys`, compared one after the other; of equal ones the
 * smaller item comes first. O(n log count), and as much memory as the result.
 */
export function largest(items: Iterable<number>, count: number, keys: ((item: number) => number)[]): number[] {
  const isBefore = (a: number, b: number): boolean => {
    for (const key of keys) {
      const difference = key(a) - key(b)
      if (difference !== 0) return difference > 0
    }
    return a < b
  }
  const heap = new MinHeap((a, b) => isBefore(b, a))
  for (const item of items) {
    if (heap.size < count) heap.push(item)
    else if (count > 0 && isBefore(item, heap.top!)) {
      heap.pop()
      heap.push(item)
    }
  }
  return heap.toArray().sort((a, b) => (isBefore(a, b) ? -1 : 1))
}
