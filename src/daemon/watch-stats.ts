/** What the watcher has seen and said; only it counts. */
import type { SharedCounters } from './shared-counters.ts'

export const WATCH_COUNTERS = [
  /** Events by others than the daemon itself, anywhere on the source's file system. */
  'events',
  /** Times that events were lost and everything was looked at anew. */
  'overflows',
  /** Messages to the kernel about what it knew. */
  'notices',
] as const

export type WatchStats = SharedCounters<typeof WATCH_COUNTERS>
