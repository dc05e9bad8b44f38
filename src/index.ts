export {
  type AsyncOptions,
  CachedFile,
  type FileAdvice,
  type ReadOptions,
  type StreamOptions,
  type WaitOptions,
} from './library/cached-file.ts'
export {
  ExclusiveGrant,
  type ExclusiveOptions,
  type GrantReaders,
  type PublishOptions,
} from './library/grants/exclusive-grant.ts'
export type { MergeOptions, MergeProgress, MergeStats } from './library/merging.ts'
export type { NumaStats } from './library/near-memory.ts'
export type { NumaMode } from './library/numa.ts'
export {
  type AttachOptions,
  type GrantOptions,
  type MergeNowOptions,
  type OpenOptions,
  PageCache,
  type PageCacheHandle,
  type PageCacheOptions,
  type PageCacheStats,
} from './library/page-cache.ts'
export { View } from './library/view.ts'
export { SystemError } from './linux/errors.ts'
export { version } from './util/version.ts'
