/** Where pages of one mapping are loaded from: a file, or a home. */
export interface PageSource {
  readonly mapping: number
  readonly fd: number
  /** For direct I/O, past the kernel's own cache; negative: there is none. */
  readonly directFd: number
  /** Direct I/O was refused, and is not to be tried again. */
  refusesDirect: boolean
  /** Bytes, as far as known. */
  readonly size: number
  /** Whether pages [page, page + count) can be loaded now: a write that is under way could change them meanwhile, or they are never to be. */
  isAtRest(page: number, count: number): boolean
  /** Whether what has been read just now is what the mapping is of; where this is absent somebody else sees to that, before anybody can read it. */
  isStill?(): boolean
  /** Makes entries for those of pages [page, page + count) of `mapping` that are read where they lie, and need not be loaded. Absent where there are none. */
  mint?: ((mapping: number, page: number, count: number) => void) | undefined
  /** It is shorter than was known. */
  onShrunk(): void
}
