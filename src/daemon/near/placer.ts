/**
 * The placer thread (`--node`): sees to it that the pages of homes lie on the mount's node.
 *
 * Homes are the mount's own, so there is one for each content and node: (inode, node) leads to an address space of ordinary pages. Who reads through the mount should run on the node,
 * and then the kernel takes pages from there by itself. Where it did not (a reader from elsewhere, a node that was full) they are moved. To look at a page marks it as used, so each
 * pass looks at one in {@link STRIDE} only, another one each time; where one lies elsewhere its whole neighbourhood is looked at.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'
import { PAGE_BYTES } from '../../cache/entry.ts'
import { SystemError } from '../../linux/errors.ts'
import { lseek, SEEK_DATA, SEEK_HOLE } from '../../linux/file.ts'
import { residentPages } from '../../linux/mincore.ts'
import { type Placement, placePages } from '../../linux/page-placement.ts'
import { Statx } from '../../linux/statx.ts'
import { attachCounters } from '../shared-counters.ts'
import { SharedHomes } from '../shared-homes.ts'
import { PLACEMENT_COUNTERS } from './placement-stats.ts'

export interface PlacerStart {
  readonly node: number
  readonly homes: SharedArrayBuffer
  /** Of {@link PLACEMENT_COUNTERS}. */
  readonly stats: SharedArrayBuffer
  /** Of each home so many bytes are read before anybody asks for them. */
  readonly aheadBytes: number
  readonly intervalMs: number
}

/** Pages that are looked at between two pauses: 16 MiB. */
const WINDOW_PAGES = 4096
const STRIDE = 64

const start = workerData as PlacerStart
const homes = new SharedHomes(start.homes)
const stats = attachCounters(PLACEMENT_COUNTERS, start.stats)
const stat = new Statx()
/** By number: which of those that had the number has been read ahead. */
const readAhead = new Map<number, number>()
/** These do not go away: Linux before 5.14, or somebody forbids the calls. */
const HOPELESS: readonly string[] = ['EINVAL', 'ENOSYS', 'EPERM']
let isHopeless = false

for (let pass = 0; !isHopeless; pass++) {
  for (let number = 0; number < homes.capacity && !isHopeless; number++) {
    const generation = homes.generation(number)
    // One that nobody uses may be about to go, and is not to look used.
    if (generation === 0 || homes.users(number) <= 0) continue
    if (readAhead.get(number) !== generation) {
      readAhead.set(number, generation)
      await inWindows(number, generation, start.aheadBytes, readWindow)
    }
    await inWindows(number, generation, Number.POSITIVE_INFINITY, (fd, page, count) =>
      checkWindow(fd, page, count, pass % STRIDE),
    )
  }
  await sleep(start.intervalMs)
}

/** Calls `use` for one window after the other, up to `length` bytes, and holds the home for no longer than each takes. */
async function inWindows(
  number: number,
  generation: number,
  length: number,
  use: (fd: number, page: number, count: number) => void,
): Promise<void> {
  for (let page = 0; !isHopeless; page += WINDOW_PAGES) {
    if (homes.users(number) <= 0 || !homes.acquire(number, generation)) return
    try {
      const fd = homes.fd(number)
      if (stat.ofFd(fd) !== 0) return
      const count = Math.min(WINDOW_PAGES, Math.ceil(Math.min(length, stat.size) / PAGE_BYTES) - page)
      if (count <= 0) return
      use(fd, page, count)
    } catch (error) {
      isHopeless = error instanceof SystemError && HOPELESS.includes(error.code)
      const whose = isHopeless ? 'homes are' : 'a home are'
      process.stderr.write(`samepage: pages of ${whose} not placed on the node: ${String(error)}\n`)
      return
    } finally {
      homes.release(number)
    }
    await sleep(0)
  }
}

/** Reads what is no hole. */
function readWindow(fd: number, page: number, count: number): void {
  const end = page + count
  for (let at = page; at < end; ) {
    const data = lseek(fd, at * PAGE_BYTES, SEEK_DATA)
    if (data < 0) return
    const first = Math.floor(data / PAGE_BYTES)
    if (first >= end) return
    at = Math.min(end, Math.ceil(lseek(fd, data, SEEK_HOLE) / PAGE_BYTES))
    stats.read += at - first
    place(fd, first, new Uint8Array(at - first).fill(1))
  }
}

/** Looks at one page in {@link STRIDE} that are cached, from the `phase`th on; at all of them where one of those lay elsewhere. */
function checkWindow(fd: number, page: number, count: number, phase: number): void {
  const resident = new Uint8Array(count)
  if (residentPages(fd, page * PAGE_BYTES, count * PAGE_BYTES, resident) <= 0) return
  if (
    place(
      fd,
      page,
      resident.map((isResident, i) => (i % STRIDE === phase ? isResident : 0)),
    ).elsewhere > 0
  )
    place(fd, page, resident)
}

function place(fd: number, page: number, isWanted: Uint8Array): Placement {
  const placement = placePages(fd, page * PAGE_BYTES, isWanted, start.node)
  stats.looked += placement.looked
  stats.elsewhere += placement.elsewhere
  stats.moved += placement.moved
  return placement
}
