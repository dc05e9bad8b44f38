/**
 * The kinds of entry that a mapping can hold: one row each, here and nowhere else.
 *
 * A *mapping* is an index from page index (file offset / 4096) to entry. A kind says who owns the page and from where its
 * bytes are read. Removing a kind's row, and the module that the row belongs to, leaves a working cache: what was of
 * that kind is then the file's own.
 */

import { entryKind } from '../layout/entry-word.ts'

/** The unit of every index. */
export { PAGE_BYTES } from '../util/page.ts'

export const EntryKind = {
  /** Empty. The page is the file's own and is read from the file itself. */
  OWN: 0,
  /** The page is a home's, and so are its neighbours in the same run: see run-map.ts. */
  HOME_RUN: 1,
  /** The mapping's own page, in a frame. */
  PAGE: 2,
  /** A page in a frame that another mapping owns: a short cut past the runs, see shared-entries.ts; or a page that was merged, see merge/. */
  SHARED: 3,
  /** A page that was in a frame and is not any more; the reclaim policy knows when, see reclaim/. */
  SHADOW: 4,
  /** A page of zeros, which needs no frame. */
  ZERO: 5,
  /** As `page`, and other NUMA nodes have copies: see replicas.ts. */
  REPLICATED: 6,
  /** A page that is exclusively somebody's: who has it, says the table of grants, see grants/. */
  EXCLUSIVE: 7,
  /** A page in the memory of a device, which is read there: see direct-pages.ts. */
  DIRECT: 8,
} as const
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind]

interface EntryKindRow {
  /** For people: status, dumps. */
  readonly name: string
  /** One row stands for a run of pages, not for one page. */
  readonly isRun: boolean
  /** The entry's value is the number of a frame, and its generation is that frame's. */
  readonly hasFrame: boolean
  /** And the page is its frame's owner. */
  readonly ownsFrame: boolean
}

export const ENTRY_KINDS: Readonly<Record<EntryKind, EntryKindRow>> = {
  [EntryKind.OWN]: { name: 'own', isRun: true, hasFrame: false, ownsFrame: false },
  [EntryKind.HOME_RUN]: { name: 'home run', isRun: true, hasFrame: false, ownsFrame: false },
  [EntryKind.PAGE]: { name: 'page', isRun: false, hasFrame: true, ownsFrame: true },
  [EntryKind.SHARED]: { name: 'shared', isRun: false, hasFrame: true, ownsFrame: false },
  [EntryKind.SHADOW]: { name: 'shadow', isRun: false, hasFrame: false, ownsFrame: false },
  [EntryKind.ZERO]: { name: 'zero', isRun: false, hasFrame: false, ownsFrame: false },
  [EntryKind.REPLICATED]: { name: 'replicated', isRun: false, hasFrame: true, ownsFrame: true },
  [EntryKind.EXCLUSIVE]: { name: 'exclusive', isRun: false, hasFrame: false, ownsFrame: false },
  [EntryKind.DIRECT]: { name: 'direct', isRun: false, hasFrame: false, ownsFrame: false },
}

/** Whether the page of this entry's word is the owner of the frame that it names. */
export function ownsFrame(word: number): boolean {
  return ENTRY_KINDS[entryKind(word) as EntryKind].ownsFrame
}
