/**
 * What the protocol of grants (holdings.ts, holding.ts, attached-caches.ts) knows of files, and of who is at the other end of a connection: so it does no I/O itself, and the simulation runs it as it is.
 *
 * Context: the grants' thread.
 */
import type { FromMount } from '../../exclusive/messages.ts'
import type { Peer } from '../../linux/unix-socket.ts'
import type { InodeNumber } from './granted-ranges.ts'

/** A file that was shown. */
export interface GrantFile {
  /** Of the inode, whatever slots it has. */
  readonly key: string
  readonly number: InodeNumber
  /** What it is called, for people. */
  readonly path: string
  /** Bytes now, or -errno. */
  size(): number
  /** One more who uses it, until he calls {@link release}. */
  share(): this
  release(): void
  /** Why it cannot be granted now, as a sentence; undefined where nothing is in the way. */
  inTheWay(): Promise<string | undefined>
  /** The bytes [start, start + length), to be granted; -errno where they cannot be read. Throws where there is no memory. */
  copy(start: number, length: number): GrantBytes | number
  /** Whatever others keep of the range by the kernel's leave they do not believe any more. */
  forgetCopies(start: number, length: number): Promise<void>
}

/** The bytes of a grant. */
export interface GrantBytes {
  readonly start: number
  readonly length: number
  /** A descriptor. */
  readonly memory: number
  /** Writes them to the file, as `who`, all or none: 0 or -errno. `sync`: they are on the disk then. Throws where a part was written and cannot be undone. */
  publish(who: Peer, sync: boolean): number
  close(): void
}

/** Who holds grants, or wants some: the other end of a connection. */
export interface GrantPeer {
  readonly peer: Peer
  /** Tells it from all others. */
  readonly key: string
  /** It caches what is not to be granted before it has given that up. */
  isCaching: boolean
  /** Sends a message, with a descriptor that stays the caller's. Who does not read what he is sent is cut off. */
  send(message: FromMount, descriptor?: number): void
  cutOff(): void
  /** Has all messages taken that it has sent by now. */
  catchUp(): void
}
