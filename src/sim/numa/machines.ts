/**
 * Published figures of real machines, by which the simulation prices what it counts. Measured by Intel's Memory Latency Checker: idle latencies of random reads, and what all cores of one
 * socket together read from one node.
 *
 * Sources: info/cascadelake_mlc.txt and info/icelake_mlc.txt of github.com/gjbex/Code-optimization (MLC 3.10).
 */
import { PAGE_BYTES } from '../../util/page.ts'

interface Machine {
  readonly name: string
  readonly localNs: number
  readonly remoteNs: number
  /** Bytes a nanosecond. */
  readonly localBandwidth: number
  readonly remoteBandwidth: number
}

export const MACHINES: readonly Machine[] = [
  {
    name: 'two sockets, Cascade Lake',
    localNs: 80.8,
    remoteNs: 140.4,
    localBandwidth: 113.1,
    remoteBandwidth: 34.3,
  },
  { name: 'two sockets, Ice Lake', localNs: 89.2, remoteNs: 142.7, localBandwidth: 175.7, remoteBandwidth: 55.7 },
]

const LINES = 64
/** Cache lines that one core waits for at a time: an assumption, ten line fill buffers. */
const IN_FLIGHT = 10
/** Of a socket: an assumption. */
const CORES = 16

/** What things cost, in nanoseconds. */
export interface Prices {
  readonly name: string
  /** To read a page from memory of the same node, and of another. */
  readonly local: number
  readonly remote: number
  /** To copy a page to another node. */
  readonly make: number
  /** To give a replica up: the keeper's work; 0.3 µs where it was timed (docs/numa.md), and more where its memory is far. */
  readonly lose: number
  /** To read a page from a fast disk. */
  readonly miss: number
  /** To write one through to the file. */
  readonly write: number
}

const LOSE = 1000
const MISS = 80_000
const WRITE = 3000

/** One thread on each socket copies pages: it waits for memory. */
export function pricesOfThread({ name, localNs, remoteNs }: Machine): Prices {
  const page = (latency: number) => (LINES * latency) / IN_FLIGHT
  const [local, remote] = [page(localNs), page(remoteNs)]
  return { name: `${name}, one thread each`, local, remote, make: remote + local, lose: LOSE, miss: MISS, write: WRITE }
}

/** All cores of each socket copy pages: they wait for the memory's, or the link's, bandwidth. What one core does meanwhile costs the socket its share. */
export function pricesOfSocket(machine: Machine): Prices {
  const one = pricesOfThread(machine)
  return {
    name: `${machine.name}, all cores`,
    local: PAGE_BYTES / machine.localBandwidth,
    remote: PAGE_BYTES / machine.remoteBandwidth,
    make: one.make / CORES,
    lose: one.lose / CORES,
    miss: one.miss / CORES,
    write: one.write / CORES,
  }
}
