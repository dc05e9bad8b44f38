/** Who has the keeper merge pages, see merged-pages.ts: is told what becomes of them. */
export interface ContentOwner {
  /** An entry that led to `frame`, a merged page, is no more. */
  unshared(frame: number): void
  /** `frame` has been given up, merged or not. */
  gaveUp(frame: number): void
}
