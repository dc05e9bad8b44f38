/**
 * What homes need from a file system. The adapter for Linux and the simulator implement it; nothing here does I/O.
 *
 * Every call may take long and other things happen meanwhile: writes, moved blocks, other calls. Errors are rejections
 * that carry a `code` as Node.js has it (`ENOENT`, `ENOSPC`).
 */
import type { ExtentList } from '../storage/extents.ts'

/** What statx says about a file's state. Equal ctime and size mean: nobody began to change it in between. */
export interface Stamp {
  readonly ctimeSec: number
  readonly ctimeNsec: number
  /** Bytes. */
  readonly size: number
  /** 0: deleted, alive only because somebody has it open. */
  readonly nlink: number
}

/**
 * A file of the source; adapters extend it by whatever they need to reach it. Families keeps some of these objects for as
 * long as a home lives and stamps them now and then, to see who still needs the home: that must work, or reject, long after
 * serve() (reach the file by a file handle rather than by a descriptor).
 */
export interface SourceFile {
  /** Unique per inode: file system and inode number, and the generation where numbers are used again. */
  readonly key: string
  /** Physical addresses mean something within this only: XFS or btrfs by UUID and superblock device, not st_dev. */
  readonly fileSystem: string
  /** Files of different domains never share memory. A property of the file: one key, one domain. */
  readonly domain: string | number
  /** It is to lie in a home, for what can be mapped without danger are homes: `all` of it, or what is `shared`, however little. */
  readonly wantsHome?: 'all' | 'shared' | undefined
}

/** File access for {@link Families}. `File` reaches a file of the source, `HomeFile` a home. */
export interface HomeStorage<File extends SourceFile, HomeFile> {
  /** Rejects with ENOENT or ESTALE when the file is gone for good. */
  stamp(file: File): Promise<Stamp>

  /**
   * The extents of [start, start + length), clipped to it, in bytes, dirty data flushed first (FIEMAP_FLAG_SYNC: without it
   * dirty copy-on-write data is reported at its old place). Each extent may be looked up at another instant. Rejects with
   * E2BIG when there are more than `limit` (a list cut short would look like a hole), with EOPNOTSUPP where addresses
   * cannot be trusted. The list belongs to the caller.
   */
  extents(file: File, start: number, length: number, limit: number): Promise<ExtentList>

  /** As {@link extents}, of a home, however many there are. */
  homeExtents(home: HomeFile, start: number, length: number): Promise<ExtentList>

  /**
   * A frozen, unnamed clone of the whole file: its bytes are those of the file at one instant during the call. Nobody can
   * write it, and no tool that looks for files to defragment or deduplicate should find it. A rejection leaves nothing behind.
   */
  createHome(file: File): Promise<HomeFile>

  dropHome(home: HomeFile): Promise<void>

  /**
   * Has anybody the file open for writing, or mapped so, at one instant during the call? undefined: cannot be told.
   * This must include writers that do not go through the mount, and writes whose descriptor has been closed meanwhile.
   */
  isOpenForWriting(file: File): Promise<boolean | undefined>

  /**
   * A counter of the file's file system with this promise: a freed block gets no other content that anybody maps before
   * the counter has changed (btrfs: the generation that BTRFS_IOC_FS_INFO tells; freed extents are pinned until their
   * transaction is committed). undefined: there is none; then the blocks of homes must stay where they are (XFS: homes
   * have no name and are marked NODEFRAG). One of the two is what makes equal addresses a proof, see proof.ts.
   */
  reuseCounter?(file: File): Promise<number | undefined>
}

/**
 * Who uses homes now. The counts live in shared memory, because workers take and give back homes without asking anybody.
 * Home numbers are used again: a user names number *and* generation.
 */
export interface HomeUsers {
  /** Has the home users now? A hint; only {@link tryRetire} decides. */
  isUsed(number: number, generation: number): boolean
  /**
   * Atomically: if nobody uses the home, make sure that nobody ever will again (taking it fails from now on) and return
   * true; else false. Called once per home with success, before its file is dropped.
   */
  tryRetire(number: number, generation: number): boolean
}

/** Milliseconds since the epoch of the clock that stamps ctimes (CLOCK_REALTIME), with a fraction. */
export type Clock = () => number

/** Does `now` say that nobody began to change the file since `before` was taken? */
export function isSameStamp(before: Omit<Stamp, 'nlink'>, now: Omit<Stamp, 'nlink'>): boolean {
  const isSameCtime = before.ctimeSec === now.ctimeSec && before.ctimeNsec === now.ctimeNsec
  return isSameCtime && before.size === now.size
}
