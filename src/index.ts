export {
  type AsyncOptions,
  CachedFile,
  type FileAdvice,
  type ReadOptions,
  type StreamOptions,
  type WaitOptions,
  type WriteOptions,
} from './library/cached-file.ts'
export type { DaxMode, DaxStats } from './library/direct-memory.ts'
export {
  ExclusiveGrant,
  type ExclusiveOptions,
  type GrantReaders,
  type PublishOptions,
} from './library/grants/exclusive-grant.ts'
export type { MergeOptions, MergeProgress, MergeStats } from './library/merging.ts'
export type { NumaStats } from './library/near-memory.ts'
export type { NumaMode } from './library/numa.ts'
export { PageCache } from './library/page-cache.ts'
export type {
  AttachOptions,
  GrantOptions,
  MergeNowOptions,
  OpenOptions,
  PageCacheHandle,
  PageCacheOptions,
  PageCacheStats,
} from './library/page-cache-options.ts'
export { View } from './library/view.ts'
export { SystemError } from './linux/errors.ts'
export { version } from './util/version.ts'
