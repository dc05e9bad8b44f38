/** What a thread that answers requests works with, made from what all threads share. */
import type { MessagePort } from 'node:worker_threads'
import { OPCODE_ROWS, type OpcodeName } from '../../fuse/protocol.ts'
import type { Handler } from '../../fuse/server.ts'
import { countLocks } from '../../util/shared-mutex.ts'
import { Crew } from '../crew.ts'
import { FilesystemTable } from '../filesystem-table.ts'
import { GrantedRanges } from '../grants/granted-ranges.ts'
import { InodeFiles } from '../inode-files.ts'
import { InodeTable } from '../inode-table.ts'
import { Listings } from '../listings.ts'
import { LockCounts } from '../locks/lock-counts.ts'
import { LookupAdvice } from '../lookup-advice.ts'
import { RequestStats } from '../request-stats.ts'
import { RunMaps } from '../run-maps.ts'
import { ServedOpens } from '../served-opens.ts'
import { SharedHomes } from '../shared-homes.ts'
import type { SharedState, ToKeeper } from '../shared-state.ts'
import { ServingState } from '../slot-serving.ts'
import { Space } from '../space.ts'
import { ToldStale } from '../told-stale.ts'
import { WarmFiles } from '../warm-files.ts'
import { type Context, newStat } from './context.ts'

/** In what one thread differs from others. */
export interface OwnContext extends Pick<Context, 'worker' | 'arena' | 'dax' | 'grants' | 'splices' | 'invalidate'> {
  readonly fuseFd: number
}

export interface ThreadContext {
  readonly context: Context
  readonly crew: Crew
  readonly space: Space
}

/** `port`: to the keeper's thread. */
export function threadContext(shared: SharedState, port: MessagePort, { fuseFd, ...own }: OwnContext): ThreadContext {
  const { options } = shared
  countLocks(new Int32Array(shared.mutexes), own.worker)
  const inodes = new InodeTable(shared.inodes)
  const filesystems = new FilesystemTable(shared.filesystems)
  const homes = new SharedHomes(shared.homes)
  const serving = new ServingState(inodes)
  const maps = new RunMaps(port)
  const locks = new LockCounts(shared.locks)
  const warm = new WarmFiles(shared.warm, inodes, fuseFd)
  const granted = new GrantedRanges(shared.granted, inodes)
  const crew = new Crew(shared.crew)
  const tellKeeper = (message: ToKeeper) => {
    crew.asked()
    port.postMessage(message)
  }
  const context: Context = {
    ...own,
    noticeFd: fuseFd,
    answerFd: fuseFd,
    inodes,
    filesystems,
    homes,
    locks,
    serving,
    maps,
    stats: new RequestStats(shared.stats),
    tellKeeper,
    files: new InodeFiles(inodes, filesystems, shared.source, shared.options.descriptorsLimit),
    opening: new ServedOpens({
      inodes,
      serving,
      homes,
      options,
      maps: maps.asMaps(tellKeeper),
      locks,
      warm,
      granted,
      fuseFd,
    }),
    warm,
    toldStale: new ToldStale(shared.toldStale),
    listings: new Listings(inodes),
    granted,
    source: shared.source,
    options,
    advice: new LookupAdvice(),
    stat: newStat(),
  }
  return { context, crew, space: new Space(shared.space) }
}

/** The same of a thread that answers what workers have handed over. */
export function answeringContext(
  shared: SharedState,
  port: MessagePort,
  worker: number,
  fuseFd: number,
): ThreadContext {
  return threadContext(shared, port, {
    worker,
    fuseFd,
    // A file that is granted is not read from there.
    arena: undefined,
    // Such a thread reads too seldom to need windows.
    dax: undefined,
    grants: () => {},
    // The answers go to the descriptors of workers.
    splices: false,
    // Only closing a file has anything to say there, and that is never handed over.
    invalidate: () => {},
  })
}

export function byOpcode(handlers: Partial<Record<OpcodeName, Handler>>): (Handler | undefined)[] {
  const table: (Handler | undefined)[] = []
  for (const row of OPCODE_ROWS) table[row.code] = handlers[row.name]
  return table
}

/** A request failed by a defect of ours: counted, and told to the keeper. */
export function reportDefect({ stats, worker, tellKeeper }: Context, opcode: number, error: unknown): void {
  stats.addFailure(worker)
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  tellKeeper({ type: 'defect', worker, opcode, message })
}
