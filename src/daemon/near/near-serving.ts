/**
 * How a worker serves READs where memory is near somebody (`--numa`):
 *
 * ```
 *   whose request?     the client's CPU says the node, or, with `inode`, the node that he was on when he opened the file
 *   who copies         this worker, which goes to that node if that pays
 *   the reply          is made in memory of the node that the worker is on
 * ```
 * Context: one worker's thread.
 */
import { Reply, type Request } from '../../fuse/messages.ts'
import { NO_REPLY } from '../../fuse/server.ts'
import { linuxNative } from '../../library/linux-native.ts'
import { nearOf, nodesOfCpus } from '../../library/numa.ts'
import { ERRNO } from '../../linux/errors.ts'
import { write } from '../../linux/fuse-device.ts'
import { allowedCpus, cpuOfThread } from '../../linux/numa.ts'
import { runOnCpus } from '../../linux/page-placement.ts'
import type { ArenaNearness } from '../content/mount-arena.ts'
import { ClientNodes } from './client-nodes.ts'
import { OpenNodes } from './open-nodes.ts'
import { WorkerPlace } from './worker-place.ts'

export class NearServing {
  readonly #fuseFd: number
  readonly #here: () => number
  readonly #clients: ClientNodes
  readonly #place: WorkerPlace
  readonly #opened: OpenNodes | undefined
  /** By node; their memory is taken from it when they are first written to. */
  readonly #replies: Reply[] = []

  constructor(near: ArenaNearness, fuseFd: number) {
    const { plan } = near.handle
    this.#fuseFd = fuseFd
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

  /**
   * Answers a READ of `size` bytes from `fd`. `fill` makes the answer: on node `here`, for a client of `node`; its bytes in the reply that it is given, -errno, or {@link NO_REPLY}. Returns
   * what a handler does; the kernel has the answer already where there is one. `reply` is of the size that an answer can have.
   */
  serve(
    fd: number,
    size: number,
    request: Request,
    { bytes }: Reply,
    fill: (reply: Reply, here: number, node: number) => number,
  ): number {
    const node = this.#opened?.of(fd) ?? this.#clients.of(request.pid) ?? this.#here()
    const here = this.#place.serve(node, size)
    this.#replies[here] ??= new Reply(bytes.length)
    const reply = this.#replies[here]!
    const result = fill(reply, here, node)
    if (result < 0 || result === NO_REPLY) return result
    const sent = write(this.#fuseFd, reply.bytes, reply.finish(request.uniqueLow, request.uniqueHigh, 0, result))
    // ENOENT: whoever waited is gone.
    return sent < 0 && sent !== -ERRNO.ENOENT ? sent : NO_REPLY
  }
}
