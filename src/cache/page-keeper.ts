/**
 * The keeper's side of the cache: every change to indexes and frames is made here, by one thread, one at a time.
 *
 * The life of a page in memory:
 *
 * ```
 *   reserve ──▶ (somebody loads it) ──▶ publish ──▶ found by readers ──▶ evicted: its entry becomes a shadow
 *                       └──▶ abandon                      ├──▶ dropped: its entry is emptied
 *                                                         └──▶ merged: its entry leads to a page of the content mapping
 * ```
 * Two loads of one page at a time do not happen: a reserved page is known as such. What is dropped while it is being loaded is not published.
 *
 * Pure: whoever calls does the reading. Context: the keeper's thread.
 */
import { entryKind, entryValue, makeEntry } from '../layout/entry-word.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import { NODE_BYTES } from '../layout/node.ts'
import { DirectPages } from './direct-pages.ts'
import { EntryKind, ownsFrame, PAGE_BYTES } from './entry.ts'
import type { FrameNodes } from './frame-nodes.ts'
import { FRAME_STATE, Frames, NO_FRAME } from './frames.ts'
import { ExclusiveEntries } from './grants/exclusive-entries.ts'
import { countEntries } from './keeper-check.ts'
import { Loads } from './loads.ts'
import { Mappings } from './mappings.ts'
import { type CacheMemory, COUNTER } from './memory.ts'
import type { ContentOwner } from './merge/content-owner.ts'
import { PinnedFrames } from './pins.ts'
import { type Ages, NEVER, type ReclaimPolicy } from './reclaim/policy.ts'
import { Replicas } from './replicas.ts'
import { Shadows } from './shadows.ts'
import { XArray } from './xarray.ts'

interface KeeperCounts {
  /** Frames that hold a page. */
  resident: number
  evicted: number
  /** Loads that were not published: dropped meanwhile, or there was no room in the index. */
  unpublished: number
  /** Loads of pages that had been evicted not long before. */
  refaults: number
}

export class PageKeeper {
  readonly frames: Frames
  readonly pinned: PinnedFrames
  /** See {@link allowReplicas}. */
  replicas: Replicas | undefined
  /** See {@link allowDirect}. */
  direct: DirectPages | undefined
  readonly exclusive: ExclusiveEntries
  readonly counts: KeeperCounts = { resident: 0, evicted: 0, unpublished: 0, refaults: 0 }

  readonly mappings: Mappings
  readonly #counters: Int32Array
  readonly #index: XArray
  readonly #policy: ReclaimPolicy
  readonly #shadows: Shadows
  readonly #giveBack: (frames: readonly number[]) => void
  readonly #inUse: ReadonlySet<number>
  /** Undefined while nobody merges. */
  #content: ContentOwner | undefined
  /** Whose page n is the merged one in frame n; -1: there is none. */
  #contentMapping = -1
  /** Of {@link #bytesMax}: what the content owner needs. */
  #contentBytes = 0
  readonly #loads: Loads
  /** Bytes for pages and for what leads to them. */
  #bytesMax: number
  /** Frames that pages may have, as set last. */
  #limit = 0

  /**
   * `bytesMax`: for pages and the nodes of their indexes; frames beyond it are not used. `giveBack` gives the memory of frames to the system, until they
   * are used again. `nodes`: which frames lie where, where there is more than one NUMA node.
   */
  constructor(
    memory: CacheMemory,
    policy: (ages: Ages) => ReclaimPolicy,
    bytesMax: number,
    giveBack: (frames: readonly number[]) => void = () => {},
    nodes?: FrameNodes,
  ) {
    this.pinned = new PinnedFrames(memory)
    this.frames = new Frames(memory, this.pinned, nodes)
    this.mappings = new Mappings(memory)
    this.#inUse = this.mappings.inUse
    this.#counters = new Int32Array(memory.counters)
    this.#index = new XArray(memory)
    this.exclusive = new ExclusiveEntries(this, this.#index, (mapping, page) =>
      this.#set(mapping, page, EntryKind.EXCLUSIVE, 0, 0),
    )
    const { frames } = this
    this.#policy = policy({ get: (frame) => frames.age(frame), set: (frame, age) => frames.setAge(frame, age) })
    this.#shadows = new Shadows(frames, this.#index, this.#policy)
    this.#giveBack = giveBack
    this.#loads = new Loads(frames)
    this.#bytesMax = bytesMax
    this.#fitLimit()
  }

  /** From now on, before the first mapping is made, each node has mappings of its own: pages are cached in, loaded for and found by that of {@link Mappings.on}. */
  mapByNode(): void {
    this.mappings.setPerFile(this.frames.nodes.count)
  }

  /** Nobody reads the mapping any more. */
  deleteMapping(mapping: number): void {
    this.drop(mapping, 0, PAGES_MAX)
    this.mappings.setSize(mapping, 0)
    // Who still has it must not take the next one of this number for it.
    this.mappings.changeLayout(mapping)
    this.mappings.delete(mapping)
  }

  /** Readers find nothing from now on: the memory of all pages is about to go. */
  end(): void {
    Atomics.store(this.#counters, COUNTER.CLOSED, 1)
    this.mappings.changeAllLayouts()
    this.replicas?.end()
    for (const mapping of this.#inUse) this.#drop(mapping, 0, PAGES_MAX)
  }

  /** The frame that holds the page, or is being loaded for it; {@link NO_FRAME} where it is in none: nor does a page of zeros need one. */
  frameOf(mapping: number, page: number): number {
    const word = this.#wordAt(mapping, page)
    if (ownsFrame(word)) return entryValue(word)
    if (entryKind(word) === EntryKind.SHARED && this.isCached(mapping, page)) return entryValue(word)
    return this.#loads.frameOf(mapping, page)
  }

  /** Whether nothing has to be loaded for readers to find the page. */
  isCached(mapping: number, page: number): boolean {
    const word = this.#wordAt(mapping, page)
    const kind = entryKind(word)
    if (kind === EntryKind.SHARED) return this.#isCurrent(word, this.#index.generation(mapping, page))
    return ownsFrame(word) || kind === EntryKind.ZERO || kind === EntryKind.DIRECT
  }

  isLoading(mapping: number, page: number): boolean {
    return page < PAGES_MAX && this.#loads.frameOf(mapping, page) !== NO_FRAME
  }

  /**
   * A frame to load the page into, which is neither cached nor being loaded; to be given to {@link publish} or {@link abandon}. {@link NO_FRAME}: there
   * is no room, for all is pinned or being loaded, or the page lies too far out for an index: it is to be read past the cache. `near`: the node of who asks. `isKept`: there is no room either
   * where a frame that it is true of would have to go next.
   */
  reserve(mapping: number, page: number, near = 0, isKept?: (frame: number) => boolean): number {
    if (page >= PAGES_MAX) return NO_FRAME
    if (this.frames.surplus > 0) this.#trim()
    const nodes = this.frames.nodes.nearest(near)
    let frame = this.frames.take(mapping, page, nodes)
    if (frame === NO_FRAME) {
      this.#reclaim(Math.max(this.frames.excess, this.pinned.batch(this.frames.limit)), near, false, isKept)
      frame = this.frames.take(mapping, page, nodes)
    }
    if (frame !== NO_FRAME) this.#loads.begin(frame)
    return frame
  }

  /**
   * The frame holds its page now: readers find it. `isWanted`: somebody has asked for it (else it was read ahead). False where it is given up instead,
   * because the page was dropped meanwhile, or no node is left.
   */
  publish(frame: number, isWanted: boolean): boolean {
    const { frames } = this
    const mapping = frames.mapping(frame)
    const page = frames.page(frame)
    const stamp = this.#shadows.stampAt(mapping, page, this.#contentMapping)
    if (this.#loads.isCancelled(frame)) {
      this.abandon(frame)
      this.counts.unpublished++
      return false
    }
    this.#loads.end(frame)
    if (!this.#set(mapping, page, EntryKind.PAGE, frame, frames.keep(frame))) {
      frames.giveUp(frame)
      this.counts.unpublished++
      return false
    }
    this.counts.resident++
    if (stamp !== NEVER) {
      this.counts.refaults++
      this.replicas?.onRefault()
    }
    if (isWanted) {
      this.#policy.insert(frame, stamp)
      // Who asked for it finds it now: that is the use it was loaded for, and no hit.
      frames.setAge(frame, -1)
    } else this.#policy.insertCold(frame)
    return true
  }

  /** As {@link publish}, of a page that turned out to be zeros: the frame is free again. */
  publishZero(frame: number): boolean {
    const mapping = this.frames.mapping(frame)
    const page = this.frames.page(frame)
    const isCurrent = !this.#loads.isCancelled(frame)
    this.abandon(frame)
    return isCurrent && this.#set(mapping, page, EntryKind.ZERO, 0, 0)
  }

  /** The page could not be loaded, or nobody wants it any more. Nobody may write to the frame after this. */
  abandon(frame: number): void {
    this.#loads.end(frame)
    this.frames.discard(frame)
    if (this.frames.surplus > 0) this.#trim()
  }

  /** Evicts what is too much: the limit may have sunk, also while something was loaded. */
  giveWay(): void {
    this.#reclaim(this.frames.excess - 1)
  }

  /** The pages [from, to) are no longer what is cached: readers that begin after this find none of them, and what is being loaded of them is not published. */
  drop(mapping: number, from: number, to: number): void {
    for (const each of this.mappings.ofFile(mapping)) this.#drop(each, from, to)
    this.#fitLimit()
  }

  #drop(mapping: number, from: number, to: number): void {
    this.#index.each(mapping, from, to, (page, word, generation) => {
      const kind = entryKind(word)
      if (ownsFrame(word)) {
        this.replicas?.collapse(entryValue(word))
        if (this.direct?.spare.has(entryValue(word))) this.direct.giveUp(entryValue(word))
        else {
          this.#policy.remove(entryValue(word))
          this.#giveUp(entryValue(word))
        }
      }
      // That is not cached: it ends with its grant.
      else if (kind === EntryKind.EXCLUSIVE) return
      this.#erase(mapping, page, word, generation)
    })
    this.#loads.cancel(mapping, from, to)
  }

  /** Readers of `page` of `mapping`, which has no page of its own there, find another mapping's page in `frame` from now on, as long as it is of that generation. */
  share(mapping: number, page: number, frame: number, generation: number): void {
    // Of merged pages it is counted who leads to them.
    if (this.isMerged(frame)) return
    if (page < PAGES_MAX && !this.isCached(mapping, page) && !this.isLoading(mapping, page))
      this.#set(mapping, page, EntryKind.SHARED, frame, generation)
  }

  /** From now on pages can be replicated; `copy` copies the bytes of a frame to another. Returns the replica mappings, by node. */
  allowReplicas(copy: (from: number, to: number) => void): readonly number[] {
    const mappings = this.frames.nodes.table.frames.map(() => this.mappings.create())
    const replicas = new Replicas(this.frames, this.#index, mappings, copy)
    this.replicas = replicas
    this.#policy.countSpare?.((node) => replicas.countOn(node))
    return mappings
  }

  /** Evicts a page on `node`, or a replica beyond the budget, so that a frame there can be had, if that is possible. */
  makeRoom(node: number): void {
    this.#reclaim(Math.max(1, this.frames.excess), node, true)
  }

  /** Makes a replica of the page on `node`: see {@link Replicas.make}. */
  replicate(mapping: number, page: number, node: number): boolean {
    const isMade = this.replicas?.make(mapping, page, node) === true
    this.#fitLimit()
    return isMade
  }

  /** From now on pages can be direct; `copy` copies one to a frame, to promote it. */
  allowDirect(copy: (mapping: number, page: number, frame: number) => void): DirectPages {
    this.direct = new DirectPages(this, this.#index, copy, this.#set.bind(this))
    return this.direct
  }

  // ---- merging: what merge/merged-pages.ts is built of

  /** From now on pages can be merged, and `owner` is told. It needs `bytes`, which pages cannot have. Throws where no mapping is left. */
  beginMerging(owner: ContentOwner, bytes: number): void {
    const mapping = this.mappings.create()
    if (mapping < 0) throw new Error('no mapping is left for merged pages')
    this.#content = owner
    this.#contentMapping = mapping
    this.#contentBytes = bytes
    this.#fitLimit()
  }

  /** Whether `frame` holds a page, and that is nowhere else: what can be merged. */
  holdsPage(frame: number): boolean {
    const { frames } = this
    const isSpare = this.direct?.spare.has(frame) || this.replicas?.mappings.includes(frames.mapping(frame))
    return frames.state(frame) === FRAME_STATE.RESIDENT && !isSpare
  }

  /** Whether the page in `frame`, which holds one, is the content mapping's. */
  isMerged(frame: number): boolean {
    return this.frames.mapping(frame) === this.#contentMapping
  }

  /**
   * The page in `frame` is the content mapping's from now on, and its owner has a shared entry that leads there. Views of it stay what they are. False
   * where there is no room; then nothing has changed. To be followed by {@link publishShared} or {@link replaceByShared}: until then nothing is evicted.
   */
  handOver(frame: number): boolean {
    const { frames } = this
    const content = this.#contentMapping
    if (!this.#index.hasRoomFor(content, frame)) return false
    const mapping = frames.mapping(frame)
    const page = frames.page(frame)
    this.replicas?.collapse(frame)
    const generation = frames.handOver(frame, content, frame)
    this.#shadows.gone(this.#index.get(content, frame))
    this.#index.set(content, frame, makeEntry(EntryKind.PAGE, frame), generation)
    this.#index.set(mapping, page, makeEntry(EntryKind.SHARED, frame), generation)
    return true
  }

  /** As {@link publish}, of a page whose bytes are those of the merged page in `shared`: `frame` is free again. */
  publishShared(frame: number, shared: number): boolean {
    const mapping = this.frames.mapping(frame)
    const page = this.frames.page(frame)
    const isCurrent = !this.#loads.isCancelled(frame)
    this.abandon(frame)
    if (isCurrent && this.#set(mapping, page, EntryKind.SHARED, shared, this.frames.generation(shared))) return true
    this.counts.unpublished++
    this.#fitLimit()
    return false
  }

  /** The page in `frame` has the bytes of the merged one in `shared`: it is found there from now on, and `frame` is given up. */
  replaceByShared(frame: number, shared: number): void {
    const { frames } = this
    this.replicas?.collapse(frame)
    // In this order there is no moment in which the page is not found.
    this.#index.set(
      frames.mapping(frame),
      frames.page(frame),
      makeEntry(EntryKind.SHARED, shared),
      frames.generation(shared),
    )
    this.#policy.remove(frame)
    this.#giveUp(frame)
    this.#fitLimit()
  }

  /** No entry leads to the merged page in `frame` any more. */
  dropShared(frame: number): void {
    this.replicas?.collapse(frame)
    this.#index.erase(this.#contentMapping, frame)
    this.#policy.remove(frame)
    this.#giveUp(frame)
  }

  /** All entries. For tests. */
  each(visit: (mapping: number, page: number, word: number, generation: number) => void): void {
    for (const mapping of this.#inUse)
      this.#index.each(mapping, 0, PAGES_MAX, (page, word, generation) => visit(mapping, page, word, generation))
  }

  /** Sets how many bytes pages and what leads to them may take; pages that are too many go at once, pinned ones when they are let go. */
  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax
    for (const { spare } of [this.replicas, this.direct].filter((it) => it !== undefined)) spare.budget = 0
    this.#fitLimit()
  }

  /** How many pages can be in memory at once: about as many, for what leads to them needs some of the room. */
  get pagesMax(): number {
    return Math.floor(this.#bytesMax / PAGE_BYTES)
  }

  /** Tells all threads of {@link pagesMax}. */
  tellLimit(): void {
    Atomics.store(this.#counters, COUNTER.FRAMES_LIMIT, this.pagesMax)
  }

  get bytesMax(): number {
    return this.#bytesMax
  }

  /** Bytes of what leads to pages: nodes that are free again keep theirs. */
  get indexBytes(): number {
    return this.#index.nodesTouched * NODE_BYTES
  }

  checkInvariants(): void {
    const { frames } = this
    frames.checkInvariants()
    this.#index.checkInvariants(this.#inUse)
    const { resident, shadows, direct } = countEntries(this.#index, this.#inUse, frames, this.replicas, this.direct)
    if (resident !== this.counts.resident)
      throw new Error(`${resident} pages are found, ${this.counts.resident} counted`)
    if (shadows !== this.#shadows.count) throw new Error(`${shadows} shadows are found, ${this.#shadows.count} counted`)
    this.replicas?.checkInvariants()
    this.direct?.checkInvariants(direct)
    const spare = (this.replicas?.counts.replicas ?? 0) + (this.direct?.counts.promoted ?? 0)
    if (this.#loads.count + resident + spare !== frames.used) throw new Error('a frame in use holds no page')
    this.#policy.checkInvariants()
  }

  /** Evicts `count` pages, or as many as are not pinned; `near`: the node on which a frame is wanted, with `isOnly` on no other. */
  #reclaim(count: number, near = 0, isOnly = false, isKept?: (frame: number) => boolean): void {
    if (count <= 0) return
    this.pinned.look()
    let isAtKept = false
    const mayEvict = (frame: number) => {
      isAtKept ||= isKept?.(frame) === true
      return !isAtKept && !this.pinned.has(frame)
    }
    while (count > 0 && this.replicas?.drop(mayEvict)) count--
    while (count > 0 && this.direct?.demoteSurplus(mayEvict)) count--
    for (let i = 0; i < count; i++) {
      const frame = this.#policy.victim(mayEvict, near, isOnly)
      if (frame < 0) break
      this.replicas?.collapse(frame)
      this.#shadows.leave(frame)
      this.counts.evicted++
      this.#giveUp(frame)
    }
    // What shadows take, pages cannot have.
    const isWorthKeeping = this.#shadows.dueSweep(this.indexBytes / this.#bytesMax)
    if (isWorthKeeping !== undefined) this.#prune(isWorthKeeping)
    if (this.frames.surplus > 0) this.#trim()
  }

  #erase(mapping: number, page: number, word: number, generation: number): void {
    this.#index.erase(mapping, page)
    this.#shadows.gone(word)
    if (entryKind(word) === EntryKind.SHARED) this.#unshare(word, generation)
    else if (entryKind(word) === EntryKind.DIRECT) this.direct!.counts.entries--
  }

  #giveUp(frame: number): void {
    this.counts.resident--
    this.frames.giveUp(frame)
    this.#content?.gaveUp(frame)
  }

  /** A shared entry was erased. */
  #unshare(word: number, generation: number): void {
    const frame = entryValue(word)
    if (this.#isCurrent(word, generation) && this.isMerged(frame)) this.#content!.unshared(frame)
  }

  /** Whether a shared entry leads to what it was made for. */
  #isCurrent(word: number, generation: number): boolean {
    return this.frames.generation(entryValue(word)) === generation
  }

  #set(mapping: number, page: number, kind: EntryKind, value: number, generation: number): boolean {
    const before = this.#index.get(mapping, page)
    if (entryKind(before) === EntryKind.EXCLUSIVE) return false
    const word = makeEntry(kind, value)
    if (!this.#index.set(mapping, page, word, generation)) {
      // Pages need the room more than what can be found out again.
      this.#prune((word) => ownsFrame(word) || entryKind(word) === EntryKind.EXCLUSIVE)
      if (!this.#index.set(mapping, page, word, generation)) return false
    } else {
      this.#shadows.gone(before)
      if (entryKind(before) === EntryKind.DIRECT) this.direct!.counts.entries--
    }
    this.#fitLimit()
    return true
  }

  /** What the nodes take, pages cannot have. */
  #fitLimit(): void {
    const limit = Math.max(1, Math.floor((this.#bytesMax - this.#contentBytes - this.indexBytes) / PAGE_BYTES))
    if (limit === this.#limit) return
    this.#limit = limit
    this.frames.setLimit(limit)
    this.#policy.resize(this.frames.limit)
    this.giveWay()
    if (this.frames.surplus > 0) this.#trim()
  }

  /** Gives back the memory of frames above the limit, as far as nobody uses them. */
  #trim(): void {
    const frames = this.frames.shrink()
    if (frames.length > 0) this.#giveBack(frames)
  }

  #wordAt(mapping: number, page: number): number {
    return page < PAGES_MAX ? this.#index.get(mapping, page) : 0
  }

  /** Erases what is not worth keeping, and shared entries that lead nowhere. */
  #prune(isWorthKeeping: (word: number) => boolean): void {
    for (const mapping of this.#inUse)
      this.#index.each(mapping, 0, PAGES_MAX, (page, word, generation) => {
        const kind = entryKind(word)
        const leadsNowhere = kind === EntryKind.SHARED && !this.#isCurrent(word, generation)
        if (isWorthKeeping(word) && !leadsNowhere) return
        this.#erase(mapping, page, word, generation)
      })
    this.#shadows.swept()
  }
}
