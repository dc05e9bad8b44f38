/**
 * The indexes of all mappings, as the keeper changes them; readers walk them in lookup.ts.
 *
 * A sparse array after the kernel's XArray: a tree of 64-way nodes that is as high as its highest page needs. Nodes come from one pool of fixed size, and
 * go back when nothing is left in them.
 *
 * Invariants (restated by {@link XArray.checkInvariants}):
 * - each node in use is the topmost of one mapping or the child of one slot, and `#present` counts its slots that are not empty;
 * - no node in use is empty;
 * - a free node is all zeros.
 */
import { entryKind } from '../layout/entry-word.ts'
import { MAPPING, makeRoot, mappingAt, rootHeight, rootNode } from '../layout/mapping-record.ts'
import { HEIGHT_MAX, NODE_SLOTS, nextShift, slotAt, slotPages, topShift } from '../layout/node.ts'
import { EntryKind } from './entry.ts'
import { type CacheMemory, COUNTER } from './memory.ts'

/** Called for an entry that is there. */
type Visit = (page: number, word: number, generation: number) => void

/** Context: the keeper's thread. */
export class XArray {
  readonly #nodes: Int32Array
  readonly #mappings: Int32Array
  readonly #counters: Int32Array
  readonly #present: Uint8Array
  /** Free nodes that were in use before, the next one last. */
  readonly #free: Int32Array
  #freeCount = 0
  /** Nodes from here on were never in use. */
  #highWater = 1
  readonly #nodesMax: number

  constructor(memory: CacheMemory) {
    this.#nodes = new Int32Array(memory.nodes)
    this.#mappings = new Int32Array(memory.mappings)
    this.#counters = new Int32Array(memory.counters)
    this.#nodesMax = memory.sizes.nodes
    this.#present = new Uint8Array(this.#nodesMax)
    this.#free = new Int32Array(this.#nodesMax)
  }

  get nodesUsed(): number {
    return this.#highWater - 1 - this.#freeCount
  }

  /** Nodes that were ever in use, and so take memory. */
  get nodesTouched(): number {
    return this.#highWater - 1
  }

  /** The word of the entry, 0 where there is none. */
  get(mapping: number, page: number): number {
    const at = this.#find(mapping, page)
    return at < 0 ? 0 : this.#nodes[at]!
  }

  /** The generation of an entry that is there. */
  generation(mapping: number, page: number): number {
    const at = this.#find(mapping, page)
    return at < 0 ? 0 : this.#nodes[at + 1]!
  }

  /** Writes an entry that is not empty; false, and nothing is changed, where no node is left. */
  set(mapping: number, page: number, word: number, generation: number): boolean {
    const at = this.#make(mapping, page)
    if (at < 0) return false
    const nodes = this.#nodes
    // Readers of one half must not take it for the other's.
    Atomics.store(nodes, at, 0)
    Atomics.store(nodes, at + 1, generation)
    Atomics.store(nodes, at, word)
    return true
  }

  /** Whether the nodes that an entry may need are there, asked before the first is taken: a node without entries cannot be found again. */
  hasRoomFor(mapping: number, page: number): boolean {
    const left = this.#nodesMax - this.#highWater + this.#freeCount
    return left >= 2 * HEIGHT_MAX || this.#find(mapping, page) >= 0
  }

  /** Empties an entry, and gives back the nodes that held nothing else. */
  erase(mapping: number, page: number): void {
    const record = mappingAt(mapping)
    const root = this.#mappings[record + MAPPING.ROOT]!
    if (!this.#reaches(root, page)) return
    const freeBefore = this.#freeCount
    if (this.#eraseIn(rootNode(root), topShift(rootHeight(root)), page))
      Atomics.store(this.#mappings, record + MAPPING.ROOT, 0)
    // After nobody finds them any more and before they are used again: who walks through them now is told by this.
    if (this.#freeCount > freeBefore) Atomics.add(this.#counters, COUNTER.NODES_FREED, 1)
  }

  /** Visits the entries of pages [from, to) in order. `visit` may erase the entry that it is shown, and change others of its leaf. */
  each(mapping: number, from: number, to: number, visit: Visit): void {
    const root = this.#mappings[mappingAt(mapping) + MAPPING.ROOT]!
    if (rootHeight(root) > 0) this.#eachIn(rootNode(root), topShift(rootHeight(root)), 0, from, to, visit)
  }

  /** Throws where the indexes of the `mappings` given, which must be all, do not hold together. */
  checkInvariants(mappings: Iterable<number>): void {
    const seen = new Set<number>()
    const check = (node: number, shift: number): void => {
      if (node <= 0 || node >= this.#highWater || seen.has(node))
        throw new Error(`node ${node} is where it must not be`)
      seen.add(node)
      let present = 0
      for (let slot = 0; slot < NODE_SLOTS; slot++) {
        const word = this.#nodes[slotAt(node, slot, 0)]!
        if (word === 0) continue
        present++
        if (shift > 0) check(word, nextShift(shift))
        else if (entryKind(word) === EntryKind.OWN) throw new Error(`node ${node} has an entry of no kind`)
      }
      if (present === 0 || present !== this.#present[node]) throw new Error(`node ${node} has ${present} slots in use`)
    }
    for (const mapping of mappings) {
      const root = this.#mappings[mappingAt(mapping) + MAPPING.ROOT]!
      if (rootHeight(root) > HEIGHT_MAX) throw new Error(`mapping ${mapping} is ${rootHeight(root)} levels high`)
      if (rootHeight(root) > 0) check(rootNode(root), topShift(rootHeight(root)))
      else if (root !== 0) throw new Error(`mapping ${mapping} has a node and no levels`)
    }
    if (seen.size !== this.nodesUsed) throw new Error(`${this.nodesUsed} nodes are in use, ${seen.size} are found`)
    for (let i = 0; i < this.#freeCount; i++) {
      const at = slotAt(this.#free[i]!, 0, 0)
      if (this.#nodes.subarray(at, at + NODE_SLOTS * 2).some((word) => word !== 0))
        throw new Error(`node ${this.#free[i]} is free and not empty`)
    }
  }

  #reaches(root: number, page: number): boolean {
    const height = rootHeight(root)
    return height > 0 && page >>> topShift(height) < NODE_SLOTS
  }

  /** Where the entry is, or -1 where there is no leaf for it. */
  #find(mapping: number, page: number): number {
    const root = this.#mappings[mappingAt(mapping) + MAPPING.ROOT]!
    if (!this.#reaches(root, page)) return -1
    let node = rootNode(root)
    for (let shift = topShift(rootHeight(root)); shift > 0; shift = nextShift(shift)) {
      node = this.#nodes[slotAt(node, page, shift)]!
      if (node === 0) return -1
    }
    return slotAt(node, page, 0)
  }

  /** The same, where the leaf is made: the caller fills the slot. -1 where no node is left. */
  #make(mapping: number, page: number): number {
    if (!this.hasRoomFor(mapping, page)) return -1
    const record = mappingAt(mapping)
    const mappings = this.#mappings
    let root = mappings[record + MAPPING.ROOT]!
    if (root === 0) {
      let height = 1
      while (page >>> topShift(height) >= NODE_SLOTS) height++
      root = makeRoot(this.#take(), height)
      Atomics.store(mappings, record + MAPPING.ROOT, root)
    }
    while (!this.#reaches(root, page)) {
      const above = this.#take()
      Atomics.store(this.#nodes, slotAt(above, 0, 0), rootNode(root))
      this.#present[above] = 1
      root = makeRoot(above, rootHeight(root) + 1)
      Atomics.store(mappings, record + MAPPING.ROOT, root)
    }
    let node = rootNode(root)
    for (let shift = topShift(rootHeight(root)); shift > 0; shift = nextShift(shift)) {
      const at = slotAt(node, page, shift)
      let child = this.#nodes[at]!
      if (child === 0) {
        child = this.#take()
        Atomics.store(this.#nodes, at, child)
        this.#present[node]!++
      }
      node = child
    }
    const at = slotAt(node, page, 0)
    if (this.#nodes[at] === 0) this.#present[node]!++
    return at
  }

  #take(): number {
    return this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#highWater++
  }

  /** Empties the slot below `node`; true where nothing is left in the node, which is free then. */
  #eraseIn(node: number, shift: number, page: number): boolean {
    const at = slotAt(node, page, shift)
    const word = this.#nodes[at]!
    if (word === 0) return false
    if (shift > 0 && !this.#eraseIn(word, nextShift(shift), page)) return false
    Atomics.store(this.#nodes, at, 0)
    this.#nodes[at + 1] = 0
    if (--this.#present[node]! > 0) return false
    this.#free[this.#freeCount++] = node
    return true
  }

  #eachIn(node: number, shift: number, base: number, from: number, to: number, visit: Visit): void {
    const span = slotPages(shift)
    const first = Math.max(0, Math.floor((from - base) / span))
    for (let slot = first; slot < NODE_SLOTS; slot++) {
      const page = base + slot * span
      if (page >= to) return
      const at = slotAt(node, slot, 0)
      const word = this.#nodes[at]!
      if (word === 0) continue
      if (shift > 0) this.#eachIn(word, nextShift(shift), page, from, to, visit)
      else visit(page, word, this.#nodes[at + 1]!)
    }
  }
}
