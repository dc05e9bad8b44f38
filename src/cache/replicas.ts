/**
 * `replicated` entries: clean pages that NUMA nodes have copies of, so that each reader finds one near by.
 *
 * The page's own frame stays its *home*, and owns the page as before. Each node has a mapping of its own, its *replica mapping*, which maps numbers of homes to
 * frames on that node:
 *
 * ```
 *   file's index                    replica mapping of node 1            frames
 *   page 7: replicated, home 12 ──┬────── 12: page, frame 530 ─────────▶ 530  owner: replica mapping 1, page 12      on node 1
 *                                 └────────────────────────────────────▶  12  owner: file, page 7                    on node 0
 * ```
 * So a frame has one owner, as always, and its record is what it was; a replica is one frame and one entry more, and nothing refers to it but that entry.
 *
 * **Looking up** (lookup.ts): the entry's home, this node's replica of it, and *then* whether the home still holds the page. All replicas of a home are given up before
 * the home is: so a replica that is still one when its bytes were copied is of the page that its home held meanwhile.
 *
 * **Collapsing**: whatever ends the life of a page in its frame (write, truncation, eviction) gives its replicas up first. **Room**: replicas take frames that nobody
 * else needs, and are the first to go: under memory pressure no last copy gives way to a second one. Where replica-policy.ts finds that they earn more than the coldest
 * pages do, it sets a budget that these cannot touch.
 *
 * Invariants (restated by {@link Replicas.checkInvariants}): an entry is `replicated` exactly while its home has a replica; homes and replicas lie on different
 * nodes, and no node has two of one home.
 */
import { entryKind, entryValue, makeEntry } from '../layout/entry-word.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import { EntryKind } from './entry.ts'
import { FRAME_STATE, type Frames, NO_FRAME } from './frames.ts'
import { SpareFrames } from './spare-frames.ts'
import type { XArray } from './xarray.ts'

export interface ReplicaCounts {
  /** Now. */
  replicas: number
  made: number
  /** Given up because their page was written, cut off or evicted. */
  collapsed: number
  /** Given up for the room that they took. */
  dropped: number
}

/** Context: the keeper's thread. */
export class Replicas {
  readonly counts: ReplicaCounts = { replicas: 0, made: 0, collapsed: 0, dropped: 0 }
  readonly spare: SpareFrames
  /** Tells of a page whose `count` replicas collapse. */
  onLoss: (mapping: number, page: number, count: number) => void = () => {}
  /** Tells of a page that had been evicted not long before, and was loaded again. */
  onRefault: () => void = () => {}
  /** By node. */
  readonly mappings: readonly number[]
  /** By node: how many are there. */
  readonly #countOn: number[]
  readonly #frames: Frames
  readonly #index: XArray
  /** Copies a page from frame to frame. */
  readonly #copy: (from: number, to: number) => void
  /** By home: a bit for each node that has a replica. */
  readonly #nodes: Uint16Array

  /** `mappings`: one for each node, of nothing else. */
  constructor(frames: Frames, index: XArray, mappings: readonly number[], copy: (from: number, to: number) => void) {
    this.mappings = mappings
    this.#countOn = mappings.map(() => 0)
    this.spare = new SpareFrames(frames)
    this.#frames = frames
    this.#index = index
    this.#copy = copy
    this.#nodes = new Uint16Array(frames.capacity)
  }

  /** Whether the page in `home` has any replica. */
  isReplicated(home: number): boolean {
    return this.#nodes[home] !== 0
  }

  has(home: number, node: number): boolean {
    return ((this.#nodes[home]! >>> node) & 1) === 1
  }

  /** How many frames of the node hold replicas. */
  countOn(node: number): number {
    return this.#countOn[node]!
  }

  /** Makes a replica of the page on `node`. False where that has a copy already, or no frame that is free, and where the page is in no frame. */
  make(mapping: number, page: number, node: number): boolean {
    const frames = this.#frames
    const word = this.#index.get(mapping, page)
    if (entryKind(word) !== EntryKind.PAGE && entryKind(word) !== EntryKind.REPLICATED) return false
    const home = entryValue(word)
    if (frames.nodes.nodeOf(home) === node || this.has(home, node)) return false
    const replica = frames.take(this.mappings[node]!, home, [node])
    if (replica === NO_FRAME) return false
    this.#copy(home, replica)
    const generation = frames.keep(replica)
    if (!this.#index.set(this.mappings[node]!, home, makeEntry(EntryKind.PAGE, replica), generation)) {
      frames.giveUp(replica)
      return false
    }
    this.#nodes[home]! |= 1 << node
    this.#countOn[node]!++
    this.spare.add(replica)
    this.#mark(home, EntryKind.REPLICATED)
    this.counts.made++
    this.counts.replicas++
    return true
  }

  /** Gives up all replicas of `home`: its page is about to change, or to go. */
  collapse(home: number): void {
    const nodes = this.#nodes[home]!
    if (nodes === 0) return
    this.onLoss(this.#frames.mapping(home), this.#frames.page(home), countBits(nodes))
    for (let node = 0; this.#nodes[home] !== 0; node++)
      if (this.has(home, node)) {
        this.#giveUp(entryValue(this.#index.get(this.mappings[node]!, home)))
        this.counts.collapsed++
      }
  }

  /** Gives up one replica that is beyond the budget; false where there is none that may go. */
  drop(mayGo: (frame: number) => boolean): boolean {
    const replica = this.spare.surplus(mayGo)
    if (replica === NO_FRAME) return false
    this.#giveUp(replica)
    this.counts.dropped++
    return true
  }

  /** Gives up all. */
  end(): void {
    for (const replica of this.spare) this.#giveUp(replica)
  }

  checkInvariants(): void {
    const frames = this.#frames
    let count = 0
    for (const [node, mapping] of this.mappings.entries()) {
      const before = count
      this.#index.each(mapping, 0, PAGES_MAX, (home, word, generation) => {
        count++
        const replica = entryValue(word)
        const isSound =
          entryKind(word) === EntryKind.PAGE &&
          this.spare.has(replica) &&
          frames.state(replica) === FRAME_STATE.RESIDENT &&
          frames.generation(replica) === generation &&
          frames.mapping(replica) === mapping &&
          frames.page(replica) === home &&
          frames.nodes.nodeOf(replica) === node &&
          frames.nodes.nodeOf(home) !== node &&
          this.has(home, node) &&
          frames.state(home) === FRAME_STATE.RESIDENT &&
          entryKind(this.#index.get(frames.mapping(home), frames.page(home))) === EntryKind.REPLICATED
        if (!isSound) throw new Error(`frame ${replica} is no replica of ${home} on node ${node}`)
      })
      if (count - before !== this.#countOn[node])
        throw new Error(`node ${node} has not ${this.#countOn[node]} replicas`)
    }
    const bits = this.#nodes.reduce((sum, nodes) => sum + countBits(nodes), 0)
    if (count !== bits || count !== this.spare.count || count !== this.counts.replicas)
      throw new Error(`${count} replicas are found, ${bits} noted, ${this.spare.count} in the clock`)
  }

  /** The entry of the page in `home` is of that kind from now on. */
  #mark(home: number, kind: EntryKind): void {
    const frames = this.#frames
    const word = makeEntry(kind, home)
    if (this.#index.get(frames.mapping(home), frames.page(home)) !== word)
      this.#index.set(frames.mapping(home), frames.page(home), word, frames.generation(home))
  }

  #giveUp(replica: number): void {
    const frames = this.#frames
    const home = frames.page(replica)
    this.#index.erase(frames.mapping(replica), home)
    frames.giveUp(replica)
    this.spare.delete(replica)
    this.counts.replicas--
    const node = frames.nodes.nodeOf(replica)
    this.#nodes[home]! &= ~(1 << node)
    this.#countOn[node]!--
    if (this.#nodes[home] === 0) this.#mark(home, EntryKind.PAGE)
  }
}

function countBits(bits: number): number {
  let count = 0
  for (; bits !== 0; bits &= bits - 1) count++
  return count
}
