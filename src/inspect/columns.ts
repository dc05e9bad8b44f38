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

/** The same for some columns of a table: where they are too short they are replaced. */
export function makeRoom<Name extends string>(
  table: Record<NoInfer<Name>, Column>,
  index: number,
  ...names: readonly Name[]
): void {
  for (const name of names) table[name] = withRoom(table[name], index)
}
