/** The path of a hit on a machine of several NUMA nodes, where pages may have replicas: tells now and then what it has found, and on which node it was. */

import { HitSampler } from '../cache/hit-samples.ts'
import type { Lookup } from '../cache/lookup.ts'
import type { Shortcuts } from '../cache/shared-entries.ts'
import type { Arena } from './arena.ts'
import type { DirectReader } from './direct-reader.ts'
import type { FileLayout } from './layout.ts'
import { PageReader } from './page-reader.ts'

/** What {@link NearReader} needs; replica mappings are by node. */
interface Nearness {
  readonly near: () => number
  readonly replicaMappings: readonly number[]
  readonly send: (node: number, samples: Int32Array) => void
}

export class NearReader extends PageReader {
  readonly #nearness: Nearness
  readonly #sampler: HitSampler
  #node = 0

  constructor(lookup: Lookup, arena: Arena, nearness: Nearness, shortcuts?: Shortcuts, direct?: DirectReader) {
    super(lookup, arena, shortcuts, direct)
    this.#nearness = nearness
    this.#sampler = new HitSampler((samples) => nearness.send(this.#node, samples))
    this.#look()
  }

  override find(layout: FileLayout, page: number): number {
    const frame = super.find(layout, page)
    if (frame >= 0 && this.#sampler.found(frame, this.lookup.generation)) this.#look()
    return frame
  }

  /** The thread may be on another node by now. That matters to how long reads take, and to nothing else. */
  #look(): void {
    this.#node = this.#nearness.near()
    this.lookup.replicas = this.#nearness.replicaMappings[this.#node]!
  }
}
