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
  /** Whether pages [page, page + count) can be loaded now: a write that is under way could change them meanwhile. */
  isAtRest(page: number, count: number): boolean
  /** Whether what has been read just now is what the mapping is of; where this is absent somebody else sees to that, before anybody can read it. */
  isStill?(): boolean
  /** It is shorter than was known. */
  onShrunk(): void
}
