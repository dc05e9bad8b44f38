/** The run maps of mapped files, as the keeper knows them, and as threads hear of them. */
import { OwnPages } from '../cache/own-pages.ts'
import type { RunMap } from '../cache/run-map.ts'
import { DroppedMemory } from '../util/dropped-memory.ts'
import type { ContentCache } from './content/content-cache.ts'
import type { ContentFile } from './content/content-files.ts'
import type { MappedContent } from './content/handed-reads.ts'
import type { DirectHome } from './dax/direct-homes.ts'
import { type InodeTable, SLOT } from './inode-table.ts'
import type { Maps } from './served-opens.ts'
import type { HomeRef, ServingOptions, ToWorker } from './shared-state.ts'
import type { ServingState } from './slot-serving.ts'

/** So many of the oldest run maps are looked at when some have to go. */
const LOOKED_AT_ONCE = 256

export interface KnownMap {
  readonly slot: number
  readonly refs: readonly HomeRef[]
  readonly runs: RunMap
  readonly own: SharedArrayBuffer | undefined
  readonly content: ContentFile | undefined
  readonly direct: ReadonlyMap<number, DirectHome> | undefined
}

export interface KnownMapsParts {
  readonly inodes: InodeTable
  readonly serving: ServingState
  readonly options: ServingOptions
  /** When there are so many, those go that are of files which nobody has open. */
  readonly mapsMax: number
  /** Where files that share nothing by address are held; undefined where nothing is merged. */
  readonly contents: ContentCache | undefined
  readonly toWorkers: (message: ToWorker) => void
}

/** Context: the keeper's thread. */
export class KnownMaps implements Maps {
  readonly #parts: KnownMapsParts
  /** The oldest first; but those that were not to go when they were looked at come after those that were made before then. */
  readonly #maps = new Map<number, KnownMap>()
  readonly #dropped = new DroppedMemory()
  #last = 0

  constructor(parts: KnownMapsParts) {
    this.#parts = parts
  }

  /** How many are in use. */
  get size(): number {
    return this.#maps.size
  }

  get(map: number): KnownMap | undefined {
    return this.#maps.get(map)
  }

  /** The file of a run map that is read from the arena. */
  contentOf(map: number): MappedContent | undefined {
    const known = this.#maps.get(map)
    if (known?.content === undefined || known.own === undefined) return undefined
    return { content: known.content, runs: known.runs, own: new OwnPages(known.own) }
  }

  homesOf(map: number): readonly HomeRef[] {
    const known = this.#maps.get(map)
    if (known === undefined) throw new Error(`run map ${map} is not known`)
    return known.refs
  }

  /** Tells a new worker of all that are in use. */
  postAll(post: (message: ToWorker) => void): void {
    for (const [map, known] of this.#maps) post(mapMessage(map, known))
  }

  /** Tells workers of a new map, which gets a number; 0 where there is no memory for its bitmap: then its content is released. */
  add(
    slot: number,
    runs: RunMap,
    refs: readonly HomeRef[],
    content?: ContentFile,
    direct?: ReadonlyMap<number, DirectHome>,
  ): number {
    const { writable, watch } = this.#parts.options
    const canBecomeOwn = writable || watch || content !== undefined
    const own = canBecomeOwn ? bitmapFor(runs) : undefined
    if (own === null) {
      if (content !== undefined) this.#parts.contents?.release(content)
      return 0
    }
    if (this.#maps.size >= this.#parts.mapsMax) this.#dropIdle(() => true)
    const map = ++this.#last
    const known = { slot, refs, runs, content, direct, own }
    this.#maps.set(map, known)
    this.#parts.toWorkers(mapMessage(map, known))
    return map
  }

  discard(map: number): void {
    const known = this.#maps.get(map)
    if (known === undefined) return
    this.#maps.delete(map)
    this.#parts.toWorkers({ type: 'unmap', map })
    if (known.content !== undefined) this.#parts.contents?.release(known.content)
    this.#dropped.add(known.runs.buffer.byteLength + (known.own?.byteLength ?? 0))
  }

  /** Drops some that are of content files, of files which nobody has open: whether there were any. */
  readonly dropContents = (): boolean => this.#dropIdle(({ content }) => content !== undefined)

  /**
   * Drops those of the oldest run maps that `may` go and are of files which nobody has open: those are decided anew. Whether there were any. Waits for nobody, for
   * the caller may hold the lock of a slot.
   */
  #dropIdle(may: (known: KnownMap) => boolean): boolean {
    const { inodes, serving } = this.#parts
    let dropped = false
    let looks = 0
    for (const [map, known] of this.#maps) {
      if (looks++ === LOOKED_AT_ONCE) break
      const lock = inodes.lockOf(known.slot)
      if (may(known) && lock.tryLock()) {
        try {
          // The slot may be another inode's by now, and this map's message be on its way.
          if (inodes.get(known.slot, SLOT.OPENS) === 0 && inodes.get(known.slot, SLOT.MAP) === map) {
            this.discard(serving.reset(known.slot))
            dropped = true
            continue
          }
        } finally {
          lock.unlock()
        }
      }
      this.#maps.delete(map)
      this.#maps.set(map, known)
    }
    return dropped
  }
}

function mapMessage(map: number, { runs, refs, own, content, direct }: KnownMap): ToWorker {
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

/** For the pages that become a file's own, see {@link OwnPages}; null where there is no memory. */
function bitmapFor(runs: RunMap): SharedArrayBuffer | null {
  try {
    return OwnPages.allocate(runs.endOfRuns)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}
