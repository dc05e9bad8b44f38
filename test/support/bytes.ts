/** Contents that ought to be equal. */

/** In what two contents differ, in words. */
export function difference(got: Buffer, wanted: Buffer): string {
  const at = got.findIndex((byte, i) => byte !== wanted[i])
  if (got.length !== wanted.length)
    return `${got.length} bytes instead of ${wanted.length}, the first other one at ${at}`
  return `byte ${at} is ${got[at]} instead of ${wanted[at]}`
}

/** Not `toEqual`, which takes long for much, and prints it all. */
export function expectEqualBytes(got: Buffer, wanted: Buffer, what: string): void {
  if (!got.equals(wanted)) throw new Error(`${what}: ${difference(got, wanted)}`)
}
