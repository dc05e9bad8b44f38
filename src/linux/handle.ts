/**
 * File handles: name_to_handle_at(2) and open_by_handle_at(2). A handle names an inode for as long as it exists, through
 * renames and remounts, and costs neither a descriptor nor kernel memory.
 *
 * ```
 * struct file_handle   bytes           inside f_handle
 *   handle_bytes u32   0    in: room, out: used
 *   handle_type  i32   4               XFS, 32-bit inodes (ext4 too)  0x01, 0x02   u32 inode, u32 generation, …
 *   f_handle           8               XFS, 64-bit inodes             0x81, 0x82   u64 inode, u32 generation, …
 *                                      btrfs                          0x4d … 0x4f  u64 inode, u64 subvolume, u32 generation, …
 * ```
 * A handle is passed around as these bytes, header included.
 */
import { O_CLOEXEC } from './file.ts'
import { cString, errnoOf, libc, type Pointer } from './native.ts'
import { AT_EMPTY_PATH } from './statx.ts'

const HEADER_BYTES = 8
/** More than that is refused (EINVAL) even as room. */
const MAX_HANDLE_SZ = 128
/** The longest handle and the header: room for a handle of any file system. */
export const HANDLE_ROOM = HEADER_BYTES + MAX_HANDLE_SZ

/** handle_type of btrfs: without parent, with parent, with a parent in another subvolume. */
const BTRFS_HANDLE_TYPES: ReadonlySet<number> = new Set([0x4d, 0x4e, 0x4f])
/** What open_by_handle_at takes for the top of a btrfs, which every one has: subvolume 5, inode 256, of whatever generation. */
export const BTRFS_TOP_HANDLE: Uint8Array = new Uint8Array(Uint32Array.of(20, 0x4d, 256, 0, 5, 0, 0).buffer)
const INO32_TYPES: ReadonlySet<number> = new Set([0x01, 0x02])
const INO64_TYPES: ReadonlySet<number> = new Set([0x81, 0x82])

const TWO_32 = 2 ** 32

const nameToHandleCall = libc<[dirFd: number, name: Pointer, handle: Pointer, mountId: Pointer, flags: number]>(
  'name_to_handle_at',
  'int',
  ['int', 'void*', 'void*', 'void*', 'int'],
)
const openByHandleCall = libc<[mountFd: number, handle: Pointer, flags: number]>('open_by_handle_at', 'int', [
  'int',
  'void*',
  'int',
])

const emptyName = cString('')
/** The kernel wants to tell the mount's id, which nobody here asks for. */
const mountId = new Int32Array(1)

/**
 * Writes the handle of `name` (NUL-terminated bytes; not followed if it is a symlink) in directory `dirFd`, or with an empty
 * name of what `dirFd` itself is open on, into `out`. Returns the handle's length in bytes, header included, or -errno:
 * EOPNOTSUPP where the file system has no handles, EOVERFLOW when `out` is too short (HANDLE_ROOM never is).
 * Nothing is allocated. Any thread.
 */
export function nameToHandle(dirFd: number, name: Uint8Array, out: Uint8Array): number {
  out[0] = Math.min(out.length - HEADER_BYTES, MAX_HANDLE_SZ)
  out[1] = 0
  out[2] = 0
  out[3] = 0
  const isEmpty = name.length === 0 || name[0] === 0
  const result = errnoOf(nameToHandleCall(dirFd, isEmpty ? emptyName : name, out, mountId, isEmpty ? AT_EMPTY_PATH : 0))
  return result < 0 ? result : HEADER_BYTES + u32(out, 0)
}

/**
 * Opens the inode of `handle` through the mount that `mountFd` is in. A descriptor, or -errno: ESTALE when the inode is gone,
 * EPERM without CAP_DAC_READ_SEARCH. Permissions of the file are not checked; O_CLOEXEC is added. Any thread.
 */
export function openByHandle(mountFd: number, handle: Uint8Array, flags: number): number {
  return errnoOf(openByHandleCall(mountFd, handle, flags | O_CLOEXEC))
}

export function handleType(handle: Uint8Array): number {
  return u32(handle, 4)
}

/** The inode number that the handle names, or -1 where this kind of handle is not known. */
export function handleInode(handle: Uint8Array): number {
  const type = handleType(handle)
  if (BTRFS_HANDLE_TYPES.has(type) || INO64_TYPES.has(type)) return u64(handle, HEADER_BYTES)
  // tmpfs calls its handles 0x01, too, but they are longer and begin with the generation.
  const size = u32(handle, 0)
  if (INO32_TYPES.has(type) && (size === 8 || size === 16)) return u32(handle, HEADER_BYTES)
  return -1
}

/** The btrfs subvolume that the handle's inode belongs to, or 0 for handles of other file systems. */
export function handleSubvolume(handle: Uint8Array): number {
  return BTRFS_HANDLE_TYPES.has(handleType(handle)) ? u64(handle, HEADER_BYTES + 8) : 0
}

function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

function u64(bytes: Uint8Array, at: number): number {
  return u32(bytes, at + 4) * TWO_32 + u32(bytes, at)
}
