/**
 * READ from the arena where memory is near somebody (`--numa`), as a worker does it: what {@link ArenaReads} does, on the right node.
 *
 * ```
 *   whose request?     the client's CPU says the node, or, with `inode`, the node that he was on when he opened the file
 *   what is missing    is loaded on that node
 *   what is there      is copied by the worker, which goes to that node if that pays; it finds what is nearest to itself
 *   the reply          is made in memory of the node that the worker is on
 * ```
 */
import { Reply, type Request } from '../../fuse/messages.ts'
import { NO_REPLY } from '../../fuse/server.ts'
import { linuxNative } from '../../library/linux-native.ts'
import { nearOf, nodesOfCpus } from '../../library/numa.ts'
import { ERRNO } from '../../linux/errors.ts'
import { write } from '../../linux/fuse-device.ts'
import { allowedCpus, cpuOfThread } from '../../linux/numa.ts'
import { runOnCpus } from '../../linux/page-placement.ts'
import { ClientNodes } from '../near/client-nodes.ts'
import { OpenNodes } from '../near/open-nodes.ts'
import { WorkerPlace } from '../near/worker-place.ts'
import { type ArenaRead, ArenaReads, type ArenaReadsParts } from './arena-reads.ts'
import type { ContentMemory, ContentNearness } from './content-cache.ts'
import { NearContentReader } from './near-content-reader.ts'

export class NearArenaReads {
  readonly #parts: ArenaReadsParts
  readonly #reader: NearContentReader
  readonly #reads: ArenaReads
  readonly #here: () => number
  readonly #clients: ClientNodes
  readonly #place: WorkerPlace
  readonly #opened: OpenNodes | undefined
  /** By node; their memory is taken from it when they are first written to. */
  readonly #replies: Reply[] = []

  constructor(content: ContentMemory, near: ContentNearness, parts: ArenaReadsParts) {
    const { plan } = near.handle
    const send = (node: number, samples: Int32Array) => parts.tellKeeper({ type: 'sampled', node, samples })
    this.#parts = parts
    this.#reader = new NearContentReader(content, near, send)
    this.#reads = new ArenaReads(this.#reader, parts)
    this.#opened = near.opened && new OpenNodes(near.opened)
    this.#here = nearOf(plan, linuxNative.numa)
    const nodeOfCpu = nodesOfCpus(plan, linuxNative.numa)
    this.#clients = new ClientNodes((tid) => nodeOfCpu[cpuOfThread(tid)] ?? -1)
    const allowed = allowedCpus()
    const cpus = plan.numbers.map((_, node) => allowed.filter((cpu) => nodeOfCpu[cpu] === node))
    this.#place = new WorkerPlace(this.#here, (node) => {
      if (cpus[node]!.length === 0) return
      try {
        runOnCpus(cpus[node]!)
      } catch {
        // It was allowed to when it began. It goes on from where it is.
      }
    })
  }

  /** A file was opened by thread `tid`. */
  opened(fd: number, tid: number): void {
    this.#opened?.set(fd, this.#clients.of(tid))
  }

  /** As {@link ArenaReads.read}; the kernel has the answer already where there is one. `reply` is of the size that an answer can have. */
  read(read: ArenaRead, request: Request, { bytes }: Reply): number {
    const { worker, fuseFd, stats } = this.#parts
    const node = this.#opened?.of(read.fd) ?? this.#clients.of(request.pid) ?? this.#here()
    const here = this.#place.serve(node, read.size)
    this.#reader.at(here, node)
    this.#replies[here] ??= new Reply(bytes.length)
    const reply = this.#replies[here]!
    const result = this.#reads.read(read, request, reply, node)
    stats.addFromAfar(worker, this.#reader.takeBytesFar())
    if (result < 0 || result === NO_REPLY) return result
    const sent = write(fuseFd, reply.bytes, reply.finish(request.uniqueLow, request.uniqueHigh, 0, result))
    // ENOENT: whoever waited is gone.
    return sent < 0 && sent !== -ERRNO.ENOENT ? sent : NO_REPLY
  }
}
