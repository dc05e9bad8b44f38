/**
 * What a thread asks of the keeper: itself, where it is the thread that made the cache, or by messages.
 *
 * All methods reject or throw with the system's error.
 */
import type { NumberedGrant } from './grants/door-grants.ts'
import type { GrantDoor } from './grants/exclusive-grant.ts'
import type { ExclusiveWish } from './grants/grants.ts'
import type { LayoutHandle } from './layout.ts'
import type { MergeStats } from './merging.ts'

/** A file that the keeper has opened for a thread. */
export interface OpenedFile {
  /** Names it to the keeper. */
  readonly id: number
  /** For reading past the cache, valid until the file is closed: the keeper's on its thread, each other thread's own. */
  readonly fd: number
  /** Which file it is: `dev:ino`. */
  readonly key: string
  readonly layout: LayoutHandle
}

export interface Door extends GrantDoor {
  open(path: string, writable: boolean, domain: number): Promise<OpenedFile>
  /** How the file is served now. */
  layout(id: number): Promise<LayoutHandle>
  /**
   * Loads what is missing of `count` pages from `page` on, the first `wanted` of them for somebody who waits. `wait`: also for grants, until `signal` aborts. Resolves with the bytes of those where it
   * has waited for one.
   */
  load(
    id: number,
    page: number,
    count: number,
    wanted: number,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined>
  write(id: number, bytes: Uint8Array, position: number, wait: boolean): Promise<void>
  truncate(id: number, length: number): Promise<void>
  sync(id: number, dataOnly: boolean): Promise<void>
  /** Loads pages and merges them with equal ones; what merging has done by then. */
  merge(id: number, page: number, count: number): Promise<MergeStats>
  /** Forgets cached pages of the file alone; resolves when they are not found any more. */
  forget(id: number, page: number, count: number): Promise<void>
  close(id: number): Promise<void>
  /** Asks for a range of the file; `grant`: the number that it is to have, see {@link grantNumber}. `holder` as in {@link ExclusiveOptions}. */
  exclusive(id: number, grant: number, holder: string | undefined, wish: ExclusiveWish): Promise<NumberedGrant>
  revoke(id: number, position: number, length: number, deadlineMs: number): Promise<number>
  /** A new one. */
  grantNumber(): number
  /** Who is called when others want the thread's grants. */
  onRevoke: ((grant: number, deadlineMs: number) => void) | undefined
  /** Samples of this thread's hits while it was on `node`: see cache/hit-samples.ts. */
  sampled(node: number, samples: Int32Array): void
  /** Samples of this thread's reads of pages that were read where they lie: see direct-reader.ts. */
  sampledDirect(samples: Int32Array): void
  /** Nothing goes through it any more: this thread wants nothing more, or the keeper's has gone. */
  readonly ended: 'here' | 'there' | undefined
  /** The same at once; undefined on threads that would have to wait for another. */
  readonly now: DoorNow | undefined
}

export interface DoorNow {
  openSync(path: string, writable: boolean, domain: number): OpenedFile
  layoutSync(id: number): LayoutHandle
  loadSync(id: number, page: number, count: number, wanted: number): void
  /** Has `read` read pages [from, to) past the cache. */
  readPastSync<T>(id: number, from: number, to: number, read: () => T): T
  writeSync(id: number, bytes: Uint8Array, position: number): void
  truncateSync(id: number, length: number): void
  syncSync(id: number, dataOnly: boolean): void
  closeSync(id: number): void
}
