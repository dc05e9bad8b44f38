/**
 * On which NUMA node files were opened, by the worker's descriptor, in shared memory: one byte each, 0 where nothing is known, else the node plus 1. Whoever opens a file that is read from the arena
 * writes it before the open is answered.
 */

/** Of descriptors beyond these nothing is known. */
const DESCRIPTORS_MAX = 1 << 20

export class OpenNodes {
  readonly #nodes: Uint8Array

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(DESCRIPTORS_MAX)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#nodes = new Uint8Array(buffer)
  }

  /** The node on which `fd` was opened. */
  of(fd: number): number | undefined {
    const node = this.#nodes[fd]
    return node ? node - 1 : undefined
  }

  set(fd: number, node: number | undefined): void {
    this.#nodes[fd] = node === undefined ? 0 : node + 1
  }

  /** `to` takes the place of `from`. */
  copy(from: number, to: number): void {
    this.set(to, this.of(from))
  }
}
