/** Counters in shared memory, each with a name: one thread adds to them, and anybody reads. */

/** As properties of their names. */
export type SharedCounters<Names extends readonly string[]> = Record<Names[number], number>

/** Memory for counters, all zero. */
export function allocateCounters(names: readonly string[]): SharedArrayBuffer {
  return new SharedArrayBuffer(names.length * Float64Array.BYTES_PER_ELEMENT)
}

/** The counters in such memory. */
export function attachCounters<const Names extends readonly string[]>(
  names: Names,
  memory: SharedArrayBuffer,
): SharedCounters<Names> {
  const values = new Float64Array(memory)
  const property = (at: number): PropertyDescriptor => ({
    get: () => values[at],
    set: (value: number) => {
      values[at] = value
    },
  })
  const properties = Object.fromEntries(names.map((name, at) => [name, property(at)]))
  return Object.defineProperties({} as SharedCounters<Names>, properties)
}
