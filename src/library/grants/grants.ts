/** Who gives grants of files: this cache by itself (file-grants.ts), or a mount that it is attached to (../attached/attached-grants.ts). Context: the keeper's thread. */
import type { GrantReaders, TakeBack } from '../../cache/grants/grant-authority.ts'
import type { CachedInode } from '../cached-inode.ts'

/** What is asked for; can be sent to the keeper's thread. */
export interface ExclusiveWish {
  /** In the file, in bytes. */
  readonly position: number
  readonly length: number
  readonly readers: GrantReaders
  readonly wait: boolean
  readonly timeoutMs: number
}

/** A grant that somebody has. */
export interface HeldGrant {
  /** What the holder may change. */
  readonly bytes: Uint8Array
  /**
   * Publishes `bytes` as they are at the call, which are as many as were granted, and ends the grant. Rejects with ESTALE where it has ended, or with the system's error: then the file has the old bytes, as everybody
   * has seen throughout, and the grant goes on.
   */
  publish(bytes: Uint8Array, sync: boolean): Promise<void>
  /** Ends the grant, if it has not ended yet; what was not published is lost. */
  release(): void
}

/** What a holder is called to know. */
export interface HolderEvents {
  readonly onRevoke: (deadlineMs: number) => void
  /** How to take the wish back while it waits. */
  readonly onWaiting: (takeBack: TakeBack) => void
}

export interface Grants {
  /** Grants a range of the file, which must lie within it, to `holder`, and reads it. Rejects with why it is refused, or with the system's error. */
  grant(inode: CachedInode, holder: string, wish: ExclusiveWish, events: HolderEvents): Promise<HeldGrant>
  /** Asks whoever has bytes of the range to give them up within so many milliseconds. Resolves with how many grants that are. */
  revoke(inode: CachedInode, position: number, length: number, deadlineMs: number): Promise<number>
}
