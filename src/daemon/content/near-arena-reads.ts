/**
 * READ from the arena where memory is near somebody (`--numa`), as a worker does it: what {@link ArenaReads} does, on the right node (near/near-serving.ts). What is missing is loaded on the client's
 * node; of what is there the worker finds what is nearest to itself.
 */
import type { Reply, Request } from '../../fuse/messages.ts'
import type { NearServing } from '../near/near-serving.ts'
import { type ArenaRead, ArenaReads, type ArenaReadsParts } from './arena-reads.ts'
import type { ArenaMemory, ArenaNearness } from './mount-arena.ts'
import { NearContentReader } from './near-content-reader.ts'

export class NearArenaReads {
  readonly #parts: ArenaReadsParts
  readonly #serving: NearServing
  readonly #reader: NearContentReader
  readonly #reads: ArenaReads

  constructor(arena: ArenaMemory, near: ArenaNearness, serving: NearServing, parts: ArenaReadsParts) {
    this.#parts = parts
    this.#serving = serving
    this.#reader = new NearContentReader(arena, near, (node, samples) =>
      parts.tellKeeper({ type: 'sampled', node, samples }),
    )
    this.#reads = new ArenaReads(this.#reader, parts)
  }

  /** As {@link ArenaReads.read}; the kernel has the answer already where there is one. `reply` is of the size that an answer can have. */
  read(read: ArenaRead, request: Request, reply: Reply): number {
    const { worker, stats } = this.#parts
    return this.#serving.serve(read.fd, read.size, request, reply, (reply, here, node) => {
      this.#reader.at(here, node)
      const result = this.#reads.read(read, request, reply, node)
      stats.addFromAfar(worker, this.#reader.takeBytesFar())
      return result
    })
  }
}
