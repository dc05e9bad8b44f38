/**
 * Growable typed arrays: inspect keeps its records as columns (one array a field), because a million objects with
 * eight numbers each take several times the memory of eight arrays.
 */

type Column = Float64Array | Uint32Array | Uint8Array

/** `column` itself if it holds more than `index` values, else a copy of twice the size. */
export function withRoom<T extends Column>(column: T, index: number): T {
  if (index < column.length) return column
  const larger = new (column.constructor as new (length: number) => T)(Math.max(index + 1, column.length * 2))
  larger.set(column)
  return larger
}
