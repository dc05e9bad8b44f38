/** The threads are started, and what they say goes to whom it concerns. Context: the keeper's thread. */
import os from 'node:os'
import { exitNow } from '../../linux/native.ts'
import type { PlacerStart } from '../near/placer.ts'
import type { ServingStart, ToKeeper } from '../shared-state.ts'
import { Threads } from '../threads.ts'
import { type KeeperContext, makeSpace } from './keeper-context.ts'

interface StartedThreads {
  readonly threads: Threads
  /** The first worker takes requests. */
  readonly areServing: Promise<void>
  /** Somebody has unmounted. */
  readonly unmounted: Promise<void>
}

interface ThreadsStart {
  readonly start: ServingStart
  /** What changes below are read from, or -1: nobody asks. */
  readonly watchFd: number
  /** Undefined where it does not matter on which NUMA node pages lie. */
  readonly placing: PlacerStart | undefined
}

export function startThreads(context: KeeperContext, { start, watchFd, placing }: ThreadsStart): StartedThreads {
  const { shared, memory, keeper, reads, lockRequests } = context
  const [areServing, serves] = promised()
  const [unmounted, ends] = promised()

  function receive(message: ToKeeper): void {
    switch (message.type) {
      case 'serving':
        serves()
        break
      case 'unmounted':
        if (message.aborted) giveUp()
        ends()
        break
      case 'defect':
        process.stderr.write(`samepage: a request (opcode ${message.opcode}) failed: ${message.message}\n`)
        break
      case 'makeSpace':
        void makeSpace(context)
        break
      case 'leased':
        threads.waitForLease(message.fuseFd, message.bytes)
        break
      case 'sampled':
        memory.arena?.sampled(message.node, message.samples)
        break
      case 'directSampled':
        memory.direct?.sampled(message.node, message.samples)
        break
      case 'interrupt':
        // Everybody who may have the request is told.
        threads.interruptLeased(message)
        answer(message)
        break
      default:
        answer(message)
    }
  }

  function answer(message: ToKeeper): void {
    if (!lockRequests.receive(message) && reads?.receive(message) !== true) keeper.receive(message)
  }

  const monitor = {
    parallel: Math.min(start.workers, os.availableParallelism()),
    hangMs: start.hangMs,
    mount: start.mount,
  }
  const threads = new Threads({
    fuseFd: start.fuseFd,
    watchFd,
    shared,
    monitor,
    placing,
    events: {
      message: receive,
      started: (post) => keeper.maps.postAll(post),
      died(thread, error) {
        const why = error instanceof Error ? error.message : String(error)
        process.stderr.write(`samepage: ${thread} died and was replaced: ${why}\n`)
      },
    },
  })
  return { threads, areServing, unmounted }
}

/** As if it had died: the supervisor then takes the mount away, in which nothing works any more. */
function giveUp(): never {
  process.stderr.write('samepage: the connection was aborted\n')
  exitNow(1)
}

/** A promise, and what resolves it. */
function promised(): [promise: Promise<void>, resolve: () => void] {
  let resolve = (): void => {}
  const promise = new Promise<void>((call) => {
    resolve = call
  })
  return [promise, resolve]
}
