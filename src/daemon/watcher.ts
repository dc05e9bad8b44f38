/**
 * The watcher thread (`--watch`): reads what happens to the source's file system, and passes on what others than the daemon did there.
 *
 * An answer that a worker is about to give may tell what was so before the change, and reach the kernel after the notice. So what was noticed
 * while requests were in hand is noticed once more when all of those have been answered.
 *
 * Where the queue ran over, events were lost: then the kernel is to believe nothing any more, and asks anew.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { SystemError } from '../linux/errors.ts'
import { FAN, parseEvents } from '../linux/fanotify.ts'
import { read, waitReadable } from '../linux/fuse-device.ts'
import { Statx } from '../linux/statx.ts'
import { countLocks } from '../util/shared-mutex.ts'
import { Crew } from './crew.ts'
import { FilesystemTable } from './filesystem-table.ts'
import { HandleLookup } from './handle-lookup.ts'
import { InodeFiles } from './inode-files.ts'
import { InodeTable } from './inode-table.ts'
import { Noticing } from './noticing.ts'
import { RunMaps } from './run-maps.ts'
import { SecondLook } from './second-look.ts'
import { attachCounters } from './shared-counters.ts'
import type { SharedState } from './shared-state.ts'
import { ServingState } from './slot-serving.ts'
import { WATCH_COUNTERS } from './watch-stats.ts'

export interface WatcherStart {
  readonly fuseFd: number
  /** As {@link openWatch} gave it. */
  readonly watchFd: number
  readonly shared: SharedState
  /** One before this one died: events may have been lost with it. */
  readonly replaces: boolean
}

/**
 * Between two looks at the queue: so long it gathers, and what happens to the same file again and again becomes one event, which keeps a
 * busy file system from waking this thread all the time.
 */
const GATHER_MS = 4
/** How often to look whether requests have been answered. */
const ANSWERED_MS = 2
/** How often to read the keeper's messages when nothing happens. */
const DRAIN_MS = 5000

const { fuseFd, watchFd, shared, replaces } = workerData as WatcherStart
if (parentPort === null) throw new Error('watcher.ts runs as a worker thread only')

const mutexes = new Int32Array(shared.mutexes)
countLocks(mutexes, mutexes.length - 1)
const inodes = new InodeTable(shared.inodes)
const filesystems = new FilesystemTable(shared.filesystems)
const stats = attachCounters(WATCH_COUNTERS, shared.watch)
const maps = new RunMaps(parentPort)
const noticing = new Noticing({
  fuseFd,
  inodes,
  files: new InodeFiles(inodes, filesystems, shared.source, shared.options.descriptorsLimit),
  serving: new ServingState(inodes),
  maps,
  handles: new HandleLookup(inodes, filesystems, shared.source),
  stats,
  stat: new Statx(),
})
const secondLook = new SecondLook(new Crew(shared.crew), noticing)
const buffer = new Uint8Array(new ArrayBuffer(64 << 10))
const never = new Int32Array(new SharedArrayBuffer(4))

if (replaces) lookAtAll()
for (;;) {
  const ready = waitReadable(watchFd, secondLook.isWaiting ? ANSWERED_MS : DRAIN_MS)
  maps.drain()
  if (ready > 0) {
    takeEvents()
    Atomics.wait(never, 0, 0, GATHER_MS)
  }
  secondLook.take()
}

function takeEvents(): void {
  const length = read(watchFd, buffer, buffer.length)
  if (length < 0) throw new SystemError(-length, 'read', 'fanotify')
  // A copy: some of it waits for a second look.
  const events = parseEvents(buffer.slice(0, length), length)
  if (events.some(({ mask }) => mask & FAN.Q_OVERFLOW)) {
    stats.overflows++
    lookAtAll()
    return
  }
  // What clients do through the daemon the kernel knows already.
  const others = events.filter(({ pid }) => pid !== process.pid)
  stats.events += others.length
  for (const event of others) noticing.notice(event)
  secondLook.add(others)
}

function lookAtAll(): void {
  noticing.noticeAll()
  secondLook.addAll()
}
