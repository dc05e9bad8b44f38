/** A mapped file, as the keeper knows it, and as threads hear of it. */
import { PAGE_BYTES } from '../cache/entry.ts'
import { OwnPages } from '../cache/own-pages.ts'
import { RunMap } from '../cache/run-map.ts'
import type { ContentFile } from './content/content-files.ts'
import type { DirectHome } from './dax/direct-homes.ts'
import type { HomeRef, ToWorker } from './shared-state.ts'

export interface KnownMap {
  readonly slot: number
  readonly refs: readonly HomeRef[]
  readonly runs: RunMap
  readonly own: SharedArrayBuffer | undefined
  readonly content: ContentFile | undefined
  readonly direct: ReadonlyMap<number, DirectHome> | undefined
}

export function mapMessage(map: number, { runs, refs, own, content, direct }: KnownMap): ToWorker {
  return {
    type: 'map',
    map,
    runs: runs.buffer,
    homes: refs,
    ...(own === undefined ? {} : { own }),
    ...(content === undefined ? {} : { content: { mapping: content.mapping, version: content.version } }),
    ...(direct === undefined ? {} : { direct }),
  }
}

/** The map of a file that is in one home as a whole. */
export function wholeIn(home: number, sizeBytes: number): RunMap {
  return RunMap.build([{ filePage: 0, pageCount: Math.ceil(sizeBytes / PAGE_BYTES), home, homePage: 0 }], sizeBytes)
}

/** For the pages that become a file's own, see {@link OwnPages}; null where there is no memory. */
export function bitmapFor(runs: RunMap): SharedArrayBuffer | null {
  try {
    return OwnPages.allocate(runs.endOfRuns)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}
