/**
 * How reads past the cache, on other threads than the keeper's, keep clear of grants: those threads ask nobody, and the file's own bytes change in the midst of a publish.
 *
 * A seqlock for each file, with the word `exclusion` of its mapping's record as the sequence:
 *
 * ```
 *   keeper, grants pages:      entries := exclusive   exclusion += 2
 *   keeper, publishes:         from, to   exclusion += 1 (odd)   writes the file   entries := empty, then the new pages   exclusion += 1
 *   reader, past the cache:    load exclusion → odd, and it wants such pages? waits. Is one exclusive? refused.   read(2)   load exclusion → changed? again
 * ```
 * A reader that sees no change has read before anything was written, or all after. Hits do not come here: what they find was validated by its frame.
 */
import { entryKind } from '../../layout/entry-word.ts'
import { MAPPING, mappingAt, PAGES_MAX, rootHeight, rootNode } from '../../layout/mapping-record.ts'
import { NODE_SLOTS, NODE_WORDS, nextShift, slotAt, topShift } from '../../layout/node.ts'
import { EntryKind, PAGE_BYTES } from '../entry.ts'
import { type CacheMemory, COUNTER } from '../memory.ts'
import type { OwnPages } from '../own-pages.ts'
import type { PageKeeper } from '../page-keeper.ts'

/** A file whose pages are granted. */
interface ExclusiveFile {
  readonly mapping: number
  /** Of a file that lies in homes. */
  readonly own: OwnPages | undefined
}

/** The keeper's side. Context: its thread; one publish of a file at a time. */
export class Exclusion {
  readonly #mappings: Int32Array
  readonly #pages: PageKeeper

  constructor(memory: CacheMemory, pages: PageKeeper) {
    this.#mappings = new Int32Array(memory.mappings)
    this.#pages = pages
  }

  /** No reader that begins from now on finds pages [from, to) of the file, in it or in a home, until they are given back. False: the index has no room, and nothing is kept from anybody. */
  take({ mapping, own }: ExclusiveFile, from: number, to: number): boolean {
    own?.add(from * PAGE_BYTES, to * PAGE_BYTES)
    const isTaken = this.#pages.exclusive.make(mapping, from, to)
    this.#readAgain(mapping)
    return isTaken
  }

  /** What is cached of the pages is dropped, and who reads past the cache just now reads again. */
  drop(mapping: number, from: number, to: number): void {
    this.#pages.drop(mapping, from, to)
    this.#readAgain(mapping)
  }

  giveBack({ mapping }: ExclusiveFile, from: number, to: number): void {
    this.#pages.exclusive.end(mapping, from, to)
  }

  /** Pages [from, to) are about to be written. */
  beginPublish(mapping: number, from: number, to: number): void {
    for (const each of this.#pages.mappings.ofFile(mapping)) {
      const at = mappingAt(each)
      Atomics.store(this.#mappings, at + MAPPING.PUBLISH_FROM, from)
      Atomics.store(this.#mappings, at + MAPPING.PUBLISH_TO, to)
      Atomics.add(this.#mappings, at + MAPPING.EXCLUSION, 1)
    }
  }

  /** They are written: nobody finds the old ones any more. */
  written({ mapping, own }: ExclusiveFile, from: number, to: number): void {
    own?.add(from * PAGE_BYTES, to * PAGE_BYTES)
    this.#pages.exclusive.end(mapping, from, to)
    this.#pages.drop(mapping, from, to)
  }

  #readAgain(mapping: number): void {
    for (const each of this.#pages.mappings.ofFile(mapping))
      Atomics.add(this.#mappings, mappingAt(each) + MAPPING.EXCLUSION, 2)
  }

  /** They are what they are to be, or as they were before. */
  endPublish(mapping: number): void {
    for (const each of this.#pages.mappings.ofFile(mapping)) {
      const at = mappingAt(each) + MAPPING.EXCLUSION
      Atomics.add(this.#mappings, at, 1)
      Atomics.notify(this.#mappings, at)
    }
  }
}

/** Where a read that others keep from its end gives up. */
const TRIES_MAX = 1000
/** A publish takes no longer than a write to the disk does, unless the keeper's thread is held up, perhaps by who waits here. */
const WAIT_MS = 5000

/** A reader's side. Context: any thread; {@link read} blocks while its pages are being published. */
export class ExclusionReader {
  readonly #mappings: Int32Array
  readonly #nodes: Int32Array
  readonly #counters: Int32Array

  constructor(memory: CacheMemory) {
    this.#mappings = new Int32Array(memory.mappings)
    this.#nodes = new Int32Array(memory.nodes)
    this.#counters = new Int32Array(memory.counters)
  }

  /** Has `read` read pages [from, to) of the mapping's file, perhaps more than once; undefined where one of them is somebody's, or will not be published. */
  read<T>(mapping: number, from: number, to: number, read: () => T): T | undefined {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const exclusion = this.#load(mapping, MAPPING.EXCLUSION)
      if ((exclusion & 1) === 1 && this.#isPublished(mapping, from, to)) {
        const at = mappingAt(mapping) + MAPPING.EXCLUSION
        if (Atomics.wait(this.#mappings, at, exclusion, WAIT_MS) === 'timed-out') return undefined
        continue
      }
      // No page of the file was ever granted: nothing to look for.
      if (exclusion !== 0 && this.#isAnyExclusive(mapping, from, to)) return undefined
      const result = read()
      if (this.#load(mapping, MAPPING.EXCLUSION) === exclusion) return result
    }
    return undefined
  }

  #isPublished(mapping: number, from: number, to: number): boolean {
    return from < this.#load(mapping, MAPPING.PUBLISH_TO) && this.#load(mapping, MAPPING.PUBLISH_FROM) < to
  }

  #isAnyExclusive(mapping: number, from: number, to: number): boolean {
    for (let page = from; page < Math.min(to, PAGES_MAX); page++) if (this.#isExclusive(mapping, page)) return true
    return false
  }

  /** As a look-up: no node may have left any index on the way. */
  #isExclusive(mapping: number, page: number): boolean {
    for (;;) {
      const freed = Atomics.load(this.#counters, COUNTER.NODES_FREED)
      const kind = this.#kindOf(mapping, page)
      if (Atomics.load(this.#counters, COUNTER.NODES_FREED) === freed) return kind === EntryKind.EXCLUSIVE
    }
  }

  #kindOf(mapping: number, page: number): number {
    const root = this.#load(mapping, MAPPING.ROOT)
    let shift = topShift(rootHeight(root))
    if (rootHeight(root) === 0 || page >>> shift >= NODE_SLOTS) return EntryKind.OWN
    let node = rootNode(root)
    for (; shift > 0; shift = nextShift(shift)) {
      node = Atomics.load(this.#nodes, slotAt(node, page, shift))
      if (node >>> 0 >= this.#nodes.length / NODE_WORDS) return EntryKind.OWN
    }
    return entryKind(Atomics.load(this.#nodes, slotAt(node, page, 0)))
  }

  #load(mapping: number, word: number): number {
    return Atomics.load(this.#mappings, mappingAt(mapping) + word)
  }
}
