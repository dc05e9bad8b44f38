export type { GrantReaders } from './cache/grants/grant-authority.ts'
export {
  type AsyncOptions,
  CachedFile,
  type FileAdvice,
  type ReadOptions,
  type StreamOptions,
  type WaitOptions,
} from './library/cached-file.ts'
export { ExclusiveGrant, type ExclusiveOptions, type PublishOptions } from './library/grants/exclusive-grant.ts'
export {
  type GrantOptions,
  PageCache,
  type PageCacheHandle,
  type PageCacheOptions,
  type PageCacheStats,
} from './library/page-cache.ts'
export { View } from './library/view.ts'
export { SystemError } from './linux/errors.ts'
export { version } from './util/version.ts'
