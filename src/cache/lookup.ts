/**
 * The look-up of a page: from (mapping, page) to the frame that holds it, by any thread, without locks, and nothing allocated.
 *
 * 1. **Walk** the index with plain loads. Nodes may be given up and used again meanwhile, so what is found may be of any page, or torn.
 * 2. **Validate**: the frame's record has the entry's generation, and this page as its owner. Then the entry was of this page, and whole: a frame
 *    that holds no page has a generation that no entry ever had.
 * 3. The caller **copies**, or pins and hands out.
 * 4. **Validate again** ({@link Lookup.isStill}): the frame was not given up in between. Else what was copied is worth nothing: look up again.
 *
 * Steps 2 and 4 are a seqlock's, with the frame's generation as the sequence (H.-J. Boehm, "Can seqlocks get along with programming language
 * memory models?", 2012). That takes the place of epochs: a reader that stops, sleeps or dies holds nothing up.
 *
 * The owner of the frame of a `shared` entry is another page, and a `zero` entry has no frame. What says that such an entry was of
 * this page is that no node left any index since the walk began: the keeper counts those.
 */
import * as entryWord from '../layout/entry-word.ts'
import * as frameRecord from '../layout/frame-record.ts'
import * as mappingRecord from '../layout/mapping-record.ts'
import * as nodes from '../layout/node.ts'
import { EntryKind } from './entry.ts'
import { type CacheMemory, COUNTER } from './memory.ts'

// Constants of this module. V8 compiles these into the code of a hit; what is imported it loads each time that it is used.
const { entryKind, entryValue } = entryWord
const { AGE_MAX, frameAt } = frameRecord
const { MAPPING: OWNER, PAGE: PAGE_OF_OWNER, AGE } = frameRecord.FRAME
const { MAPPING, mappingAt, PAGES_MAX, rootHeight, rootNode } = mappingRecord
const { ROOT, END_PAGE, LAYOUT } = MAPPING
const { NODE_SLOTS, NODE_WORDS, nextShift, slotAt, topShift } = nodes
const { DIRECT, PAGE, REPLICATED, SHARED, ZERO } = EntryKind
const NOTHING = -1

/** What {@link Lookup.find} returns where there is no frame. */
export const FOUND = {
  /** Not in memory, or not as far as this look-up could see. */
  NOTHING,
  /** Zeros. */
  ZERO: -2,
  /**
   * In the memory of a device. It is a hint: nothing says that the entry was of this page, for a node may be another index's by now. Who reads there what the mapping is of gets the
   * right bytes all the same, for they never change.
   */
  DIRECT: -3,
} as const

export class Lookup {
  /** Of the frame that was found last: what {@link isStill} takes. */
  generation = 0
  /** The replica mapping of the node that this thread is on, see replicas.ts; -1: there is none. */
  replicas = -1

  readonly #frames: Int32Array
  readonly #nodes: Int32Array
  readonly #mappings: Int32Array
  readonly #counters: Int32Array
  readonly #needsFence: boolean

  /**
   * `needsFence`: the processor may do a plain load after an atomic one that follows it (all but x86). Where it may not, a plain load is as good as an
   * atomic one: V8 neither merges nor moves loads of array buffers. It calls a function for an atomic one, which costs as much as all the rest.
   */
  constructor(memory: CacheMemory, needsFence: boolean) {
    this.#frames = new Int32Array(memory.frames)
    this.#nodes = new Int32Array(memory.nodes)
    this.#mappings = new Int32Array(memory.mappings)
    this.#counters = new Int32Array(memory.counters)
    this.#needsFence = needsFence
  }

  /** The frame that holds `page` of `mapping`, or one of {@link FOUND}. Raises its age. `page` is an integer from 0 on. */
  find(mapping: number, page: number): number {
    const nodes = this.#nodes
    const root = this.#mappings[mappingAt(mapping) + ROOT]!
    let node = rootNode(root)
    // A page beyond what the index reaches leads to another's entry, whose owner is not this page.
    for (let shift = topShift(rootHeight(root)); shift > 0; shift = nextShift(shift))
      node = nodes[slotAt(node, page, shift)]!
    const at = slotAt(node, page, 0)
    const word = nodes[at]!
    const kind = entryKind(word)
    if (kind === PAGE) {
      const frames = this.#frames
      const frame = entryValue(word)
      const record = frameAt(frame)
      const generation = nodes[at + 1]!
      if (
        // That of an entry without a frame, or of none at all: a frame that holds nothing may have the same one.
        (generation & 1) === 0 ||
        this.#load(frames, record) !== generation ||
        frames[record + OWNER] !== mapping ||
        frames[record + PAGE_OF_OWNER] !== page
      )
        return NOTHING
      this.generation = generation
      this.#age(record)
      return frame
    }
    return word === 0 ? NOTHING : this.#findOther(mapping, page, word, nodes[at + 1]!)
  }

  /** Whether `frame` is still what it was when it was found with `generation`: all that was read from it meanwhile is right. */
  isStill(frame: number, generation: number): boolean {
    // An atomic operation that also writes: no load before it can come after it.
    if (this.#needsFence) Atomics.add(this.#counters, COUNTER.FENCE, 0)
    return this.#load(this.#frames, frameAt(frame)) === generation
  }

  /** No load before this comes after it: what {@link isStill} does for bytes of frames, for bytes from elsewhere. */
  fence(): void {
    if (this.#needsFence) Atomics.add(this.#counters, COUNTER.FENCE, 1)
  }

  /** The size in bytes of what `mapping` maps, as far as this cache knows. */
  sizeOf(mapping: number): number {
    const mappings = this.#mappings
    const at = mappingAt(mapping)
    for (;;) {
      const version = Atomics.load(mappings, at + MAPPING.VERSION)
      const size =
        Atomics.load(mappings, at + MAPPING.SIZE_HIGH) * 2 ** 32 + (Atomics.load(mappings, at + MAPPING.SIZE_LOW) >>> 0)
      if ((version & 1) === 0 && Atomics.load(mappings, at + MAPPING.VERSION) === version) return size
    }
  }

  /** Whether `page` lies within the file as a whole: most reads need not know more of its size. */
  isWhole(mapping: number, page: number): boolean {
    return page < this.#load(this.#mappings, mappingAt(mapping) + END_PAGE)
  }

  /** Changes when a file is to be served in another way: who has it open asks the keeper how. */
  layoutOf(mapping: number): number {
    return this.#load(this.#mappings, mappingAt(mapping) + LAYOUT)
  }

  /** About how many pages can be in memory at once, as the keeper has said last. */
  get framesLimit(): number {
    return Atomics.load(this.#counters, COUNTER.FRAMES_LIMIT)
  }

  /** The thread that made the cache has closed it, or is about to: what is read from its descriptors may be of other files. */
  get isClosed(): boolean {
    return Atomics.load(this.#counters, COUNTER.CLOSED) !== 0
  }

  /** An atomic load, for less where a plain one is as good. */
  #load(words: Int32Array, at: number): number {
    return this.#needsFence ? Atomics.load(words, at) : words[at]!
  }

  /** What is not an ordinary page. A function of its own, so that the one for those is short enough to become part of its callers. */
  #findOther(mapping: number, page: number, word: number, generation: number): number {
    const kind = entryKind(word)
    if (kind === REPLICATED) return this.#findReplicated(mapping, page, entryValue(word), generation)
    if (kind === DIRECT) return this.#isReached(mapping, page) ? FOUND.DIRECT : NOTHING
    return kind === SHARED || kind === ZERO ? this.#findForeign(mapping, page) : NOTHING
  }

  /** Whether the index is high enough for the page; else what was found is another page's. */
  #isReached(mapping: number, page: number): boolean {
    const root = this.#mappings[mappingAt(mapping) + ROOT]!
    return rootHeight(root) > 0 && page >>> topShift(rootHeight(root)) < NODE_SLOTS
  }

  /** This node's replica of the page in `home`, or that itself. */
  #findReplicated(mapping: number, page: number, home: number, generation: number): number {
    const frames = this.#frames
    const record = frameAt(home)
    const replica = this.replicas < 0 ? NOTHING : this.find(this.replicas, home)
    const replicaGeneration = this.generation
    // As for an ordinary page; one function for both costs a hit a fifth of its time. After the replica was found: a home that held another page then has another generation now, or the replica has.
    if (
      (generation & 1) === 0 ||
      this.#load(frames, record) !== generation ||
      frames[record + OWNER] !== mapping ||
      frames[record + PAGE_OF_OWNER] !== page
    )
      return NOTHING
    this.generation = replica >= 0 ? replicaGeneration : generation
    this.#age(record)
    return replica >= 0 ? replica : home
  }

  #findForeign(mapping: number, page: number): number {
    // Further bits were lost on the way. No frame's owner has as high a page, but here nobody asks for the owner.
    if (page >= PAGES_MAX) return NOTHING
    const nodes = this.#nodes
    const freed = Atomics.load(this.#counters, COUNTER.NODES_FREED)
    const root = Atomics.load(this.#mappings, mappingAt(mapping) + ROOT)
    let shift = topShift(rootHeight(root))
    // The index may be another one by now, and lower.
    if (rootHeight(root) === 0 || page >>> shift >= NODE_SLOTS) return NOTHING
    let node = rootNode(root)
    for (; shift > 0; shift = nextShift(shift)) {
      node = Atomics.load(nodes, slotAt(node, page, shift))
      // The node that leads there is another index's leaf by now, and its word is no node's number.
      if (node >>> 0 >= nodes.length / NODE_WORDS) return NOTHING
    }
    const at = slotAt(node, page, 0)
    const word = Atomics.load(nodes, at)
    const generation = Atomics.load(nodes, at + 1)
    // The word again: a torn pair is the old word with the new generation.
    if (Atomics.load(nodes, at) !== word || Atomics.load(this.#counters, COUNTER.NODES_FREED) !== freed) return NOTHING
    if (entryKind(word) === ZERO) return FOUND.ZERO
    if (entryKind(word) !== SHARED) return NOTHING
    const frame = entryValue(word)
    const record = frameAt(frame)
    const replica = this.replicas < 0 ? NOTHING : this.find(this.replicas, frame)
    const replicaGeneration = this.generation
    if (Atomics.load(this.#frames, record) !== generation) return NOTHING
    this.generation = replica >= 0 ? replicaGeneration : generation
    this.#age(record)
    return replica >= 0 ? replica : frame
  }

  /** Two readers may raise it once, or one it lets go: it is a hint. */
  #age(record: number): void {
    const age = this.#frames[record + AGE]!
    if (age < AGE_MAX) this.#frames[record + AGE] = age + 1
  }
}
