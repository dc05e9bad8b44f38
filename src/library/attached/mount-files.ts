/** What the keeper of files needs of a mount that its cache is attached to. Context: the keeper's thread. */
import type { CachedInode } from '../cached-inode.ts'
import type { Grants } from '../grants/grants.ts'
import type { Gate } from '../grants/passages.ts'
import type { LeaseEvents } from './leases.ts'

/** A file of the mount that is open here, and of whose grants this cache is told until `end` is called. */
export interface AttendedFile {
  /** For reading. */
  readonly fd: number
  readonly end: () => void
}

export interface MountFiles {
  /** Rejects with the system's error, with EXDEV where the file does not lie in the mount, and with ENOTCONN where that has ended. */
  open(path: string): Promise<AttendedFile>
  /** Closes a descriptor of it, later: that may wait for those who wait for a grant. */
  closeFd(fd: number): void
  readonly grants: Grants
  /** Lets reads and writes through, as the mount lets this cache. */
  readonly leases: Gate
  /** Whether the mount still tells this cache what it grants. */
  readonly isConnected: boolean
  /** Ends the connection: what is held is abandoned. */
  close(): void
}

/** What the mount needs of the keeper of files. */
export interface MountEvents extends LeaseEvents {
  /** The inode is used once less by who writes. */
  readonly close: (inode: CachedInode) => void
}
