/**
 * fanotify(7) for a whole file system: who changed what, by file handle. Wants CAP_SYS_ADMIN, and Linux 5.9 for names.
 *
 * ```
 * event        struct fanotify_event_metadata      record  struct fanotify_event_info_fid, any number after the metadata
 *   event_len    u32    0   with all records         info_type  u8    0   FID: the inode; DFID_NAME: a directory and a name in it
 *   vers         u8     4                            len        u16   2   of the record
 *   metadata_len u16    6                            fsid       u64   4   of what was marked: the same for all subvolumes of btrfs
 *   mask         u64    8                            handle          12   as handle.ts draws it
 *   fd           i32   16   none, with handles       name                 after the handle, NUL-terminated
 *   pid          i32   20   the process
 * ```
 * Events of names (created, deleted, moved) come with DFID_NAME alone; those of an inode with its FID, and, where that is
 * known, with the name by which it was reached; those of a directory itself with DFID_NAME and the name ".".
 *
 * What the kernel does not tell: stores through a mapping, until who made them has closed the file (CLOSE_WRITE).
 */
import { O_CLOEXEC } from './file.ts'
import { errnoOf, libc, type Pointer } from './native.ts'

const initCall = libc<[flags: number, eventFlags: number]>('fanotify_init', 'int', ['uint', 'uint'])
const markCall = libc<[groupFd: number, flags: number, mask: number, dirFd: number, path: Pointer]>(
  'fanotify_mark',
  'int',
  ['int', 'uint', 'uint64', 'int', 'void*'],
)

const FAN_CLOEXEC = 0x1
const FAN_NONBLOCK = 0x2
const FAN_REPORT_FID = 0x200
const FAN_REPORT_DFID_NAME = 0xc00
const FAN_MARK_ADD = 0x1
const FAN_MARK_FILESYSTEM = 0x100

/** Bits of {@link FileEvent.mask}. */
export const FAN = {
  MODIFY: 0x2,
  ATTRIB: 0x4,
  CLOSE_WRITE: 0x8,
  MOVED_FROM: 0x40,
  MOVED_TO: 0x80,
  CREATE: 0x100,
  DELETE: 0x200,
  DELETE_SELF: 0x400,
  MOVE_SELF: 0x800,
  /** Events were lost. */
  Q_OVERFLOW: 0x4000,
  /** Of a directory; such events are sent only where this is asked for. */
  ONDIR: 0x4000_0000,
} as const

const INFO_FID = 1
const INFO_DFID_NAME = 2
const METADATA_VERSION = 3
const METADATA_BYTES = 24
const RECORD_HANDLE = 12
const HANDLE_HEADER_BYTES = 8

/** Something happened; the arrays are views of the buffer that was parsed. */
export interface FileEvent {
  /** Bits of {@link FAN}; what happened to the same thing several times in a row comes as one event. */
  readonly mask: number
  /** Whose process it was, as seen from the reader's namespace. */
  readonly pid: number
  /** The handle of the inode it happened to, header included; undefined for events of names. */
  readonly inode: Uint8Array | undefined
  /** The handle of the directory that `name` is in. */
  readonly directory: Uint8Array | undefined
  /** Without the NUL. */
  readonly name: Uint8Array | undefined
}

/**
 * A group whose events carry handles and names: a non-blocking descriptor, or -errno (EPERM without the privilege, EINVAL before Linux 5.9,
 * EMFILE: this user has too many). Its queue has the length that fs.fanotify.max_queued_events says now.
 */
export function openEventGroup(): number {
  return errnoOf(initCall(FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID | FAN_REPORT_DFID_NAME, O_CLOEXEC))
}

/**
 * Sends the group the events in `mask` of all inodes of the file system that `dirFd` (not O_PATH) is on. 0 or -errno: EXDEV in a subvolume of btrfs
 * other than the top one, EOPNOTSUPP where there are no handles, ENODEV where the file system has no id.
 */
export function markFilesystem(groupFd: number, dirFd: number, mask: number): number {
  return errnoOf(markCall(groupFd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask, dirFd, null))
}

/** The events in the first `length` of `bytes`, as read(2) gave them. Throws where the kernel speaks another version. */
export function parseEvents(bytes: Uint8Array, length: number): FileEvent[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, length)
  const events: FileEvent[] = []
  for (let at = 0, end: number; at + METADATA_BYTES <= length; at = end) {
    end = at + view.getUint32(at, true)
    if (bytes[at + 4] !== METADATA_VERSION || end > length || end < at + METADATA_BYTES)
      throw new Error(`fanotify: an event of version ${bytes[at + 4]} and ${end - at} bytes`)
    let inode: Uint8Array | undefined
    let directory: Uint8Array | undefined
    let name: Uint8Array | undefined
    for (let record = at + view.getUint16(at + 6, true), next: number; record + 4 <= end; record = next) {
      next = record + Math.max(4, view.getUint16(record + 2, true))
      const type = bytes[record]
      if (type !== INFO_FID && type !== INFO_DFID_NAME) continue
      const handleAt = record + RECORD_HANDLE
      const nameAt = handleAt + HANDLE_HEADER_BYTES + view.getUint32(handleAt, true)
      const handle = bytes.subarray(handleAt, nameAt)
      if (type === INFO_FID) inode = handle
      else {
        directory = handle
        name = bytes.subarray(nameAt, bytes.indexOf(0, nameAt))
      }
    }
    // The upper half of the mask is not in use.
    events.push({ mask: view.getUint32(at + 8, true), pid: view.getInt32(at + 20, true), inode, directory, name })
  }
  return events
}
