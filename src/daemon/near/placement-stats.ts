/** What the placer has found and done, in pages; only it counts. */
import type { SharedCounters } from '../shared-counters.ts'

export const PLACEMENT_COUNTERS = [
  /** Of which the kernel was asked where they lie. */
  'looked',
  /** Of them, those that lay on another node. */
  'elsewhere',
  /** Of those, the ones that were moved. */
  'moved',
  /** That were read before anybody asked for them. */
  'read',
] as const

export type PlacementStats = SharedCounters<typeof PLACEMENT_COUNTERS>
