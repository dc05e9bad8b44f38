/**
 * From a slot of the inode table to a descriptor of the file below, and from a name below to a slot.
 *
 * Where files can be opened by handle (root, a file system that exports), the daemon holds no descriptor of a file
 * that nobody has open (but see warm-files.ts): nothing is pinned, a deleted file's space is free, and the number of descriptors does
 * not grow with the tree. Directories keep an O_PATH descriptor, because every look-up in them needs one, until there are too many.
 * One that is removed through the mount keeps it until the kernel forgets it, which it does at once where nobody uses it: somebody may
 * have it as his working directory, and it has no handle any more that could be opened. A file that loses its name is not kept so: its space is to be free when unlink(2) returns.
 * Elsewhere (ordinary user, other file systems) each inode that the kernel knows costs one O_PATH descriptor.
 *
 * Context: worker threads; the calls block as the file system does.
 */
import { ERRNO } from '../linux/errors.ts'
import { close, O_DIRECTORY, O_NOFOLLOW, O_PATH, openat, reopen } from '../linux/file.ts'
import { handleInode, handleSubvolume, nameToHandle, openByHandle } from '../linux/handle.ts'
import { statAt, statFd } from '../linux/mount-id.ts'
import { cString } from '../linux/native.ts'
import { S_IFDIR, STATX_BASIC_STATS, type Statx } from '../linux/statx.ts'
import type { FilesystemTable } from './filesystem-table.ts'
import { HANDLE_BYTES_MAX, InodeKey, type InodeTable, PINS_EVICTING, SLOT, SLOT_FLAG } from './inode-table.ts'

/** What one mount reads from; the same for all workers. */
export interface Source {
  /** O_PATH descriptor of the source directory. */
  readonly rootFd: number
  /** A descriptor for open_by_handle_at on the source's file system, or -1 where handles can't be used. */
  readonly handleMountFd: number
  readonly rootMountId: number
  /** Whether other file systems below the source are shown. */
  readonly cross: boolean
  /** How files are kept apart: all together, by owner, or by top-level directory. */
  readonly domain: 'none' | 'uid' | 'dir'
}

/** Descriptors of directories that are closed at once where one is needed. */
const EVICTED_AT_ONCE = 256

export class InodeFiles {
  readonly #inodes: InodeTable
  readonly #filesystems: FilesystemTable
  readonly #source: Source
  readonly #key = new InodeKey()
  readonly #handle = new Uint8Array(HANDLE_BYTES_MAX)
  /** The longest that a table of descriptors may get before look-ups of new files are refused. */
  readonly #descriptorsMax: number
  /** The longest that it may get before clients can open no more files: what is above serves who asks about those that are open. */
  readonly #openFilesMax: number
  /** The longest that it may get before removed directories are not kept any more: who has many is to leave some to others. */
  readonly #removedMax: number
  #evictFrom = 0

  /** `descriptorsLimit`: how many descriptors the process may have. */
  constructor(inodes: InodeTable, filesystems: FilesystemTable, source: Source, descriptorsLimit: number) {
    this.#inodes = inodes
    this.#filesystems = filesystems
    this.#source = source
    this.#descriptorsMax = Math.floor(descriptorsLimit * 0.75)
    this.#removedMax = Math.floor(descriptorsLimit * 0.5)
    this.#openFilesMax = Math.floor(descriptorsLimit * 0.9)
  }

  /**
   * Looks `name` up in directory `parent` and counts the look-up: a slot, or -errno. `stat` is filled. With
   * `count` false the slot is not wanted: only `stat` is.
   */
  lookUp(parent: number, name: Uint8Array, stat: Statx): number {
    if (this.#inodes.get(parent, SLOT.FLAGS) & SLOT_FLAG.HIDDEN) return -ERRNO.ENOENT
    const dirFd = this.pin(parent)
    if (dirFd < 0) return dirFd
    try {
      return this.lookUpIn(parent, dirFd, name, stat)
    } finally {
      this.unpin(parent, dirFd)
    }
  }

  /** As {@link lookUp}, where the directory is open as `dirFd` already. */
  lookUpIn(parent: number, dirFd: number, name: Uint8Array, stat: Statx): number {
    const error = statAt(stat, dirFd, name)
    if (error < 0) return error
    const foreign = stat.mountId !== this.#source.rootMountId
    const fs = this.#filesystemOf(dirFd, name, stat)
    if (fs < 0) return fs
    const flags = stat.isDirectory ? SLOT_FLAG.DIRECTORY : 0
    const key = this.#key
    key.fs = fs
    key.inoLow = stat.inoLow
    key.inoHigh = stat.inoHigh
    key.handleSize = 0
    const domain = this.#domainOf(parent, fs, stat)
    if (foreign && !this.#source.cross) {
      showEmpty(stat)
      return this.#acquire(key, -1, domain, SLOT_FLAG.HIDDEN | SLOT_FLAG.DIRECTORY)
    }
    if (stat.isDirectory && this.#isPlaceholder(dirFd, name, stat)) {
      showEmpty(stat)
      this.#numberByPlace(parent, name, stat)
      return this.#acquire(key, -1, domain, SLOT_FLAG.HIDDEN | SLOT_FLAG.DIRECTORY)
    }
    if (this.#filesystems.hasHandles(fs) && !stat.isSpecial) {
      const size = nameToHandle(dirFd, name, key.handle)
      // The name may mean another file by now: only a handle of the inode that was stat'ed will do.
      if (size > 0 && handleInode(key.handle) === stat.ino && this.#isOf(fs, key)) {
        key.handleSize = size
        return this.#acquire(key, -1, domain, flags)
      }
    }
    return this.#lookUpByDescriptor(parent, dirFd, name, stat, key, flags)
  }

  /**
   * Where a subvolume lay in what a btrfs snapshot was taken of, the snapshot has an empty directory. All of them have
   * the same number, which is no file's, and a handle that opens nothing.
   */
  #isPlaceholder(dirFd: number, name: Uint8Array, stat: Statx): boolean {
    if (stat.inoLow !== BTRFS_EMPTY_SUBVOLUME_INO || stat.inoHigh !== 0) return false
    return nameToHandle(dirFd, name, this.#handle) > 0 && handleSubvolume(this.#handle) > 0
  }

  /**
   * Numbers what has no number of its own by where it lies, so that it is the same after a remount: in the key and in `stat`. The numbers
   * are above all that files of a subvolume have (2^39), and two names have the same with a chance of 2^-39.
   */
  #numberByPlace(parent: number, name: Uint8Array, stat: Statx): void {
    const key = this.#key
    key.fs = this.#inodes.get(parent, SLOT.FS)
    let low = this.#inodes.get(parent, SLOT.INO_LOW) ^ 0x811c9dc5
    let high = this.#inodes.get(parent, SLOT.INO_HIGH) ^ 0x5bd1e995
    for (const byte of name) {
      low = Math.imul(low ^ byte, 0x01000193)
      high = Math.imul(high ^ byte, 0x85ebca6b) ^ (high >>> 13)
    }
    stat.setIno(low >>> 0, 0x80 | (high >>> 25))
    key.inoLow = stat.inoLow
    key.inoHigh = stat.inoHigh
  }

  /** One descriptor for both questions: what it is, and its handle if there is one. */
  #lookUpByDescriptor(
    parent: number,
    dirFd: number,
    name: Uint8Array,
    stat: Statx,
    key: InodeKey,
    flags: number,
  ): number {
    const fd = openat(dirFd, name, O_PATH | O_NOFOLLOW)
    if (fd < 0) return fd
    const error = statFd(stat, fd)
    const fs = error < 0 ? error : this.#filesystemOf(fd, EMPTY, stat)
    if (fs !== key.fs) {
      close(fd)
      return fs < 0 ? fs : -ERRNO.ESTALE
    }
    key.inoLow = stat.inoLow
    key.inoHigh = stat.inoHigh
    // Of a FIFO, socket or device that is open and has lost its name the kernel still asks for attributes, and nothing below holds it: this does.
    if (this.#filesystems.hasHandles(key.fs) && !(stat.isSpecial && fd <= this.#descriptorsMax)) {
      const size = nameToHandle(fd, EMPTY, key.handle)
      if (size > 0) {
        key.handleSize = size
        close(fd)
        const fs = this.#renewed(key, stat)
        return fs < 0 ? fs : this.#acquire(key, -1, this.#domainOf(parent, fs, stat), flags)
      }
    }
    if (fd > this.#descriptorsMax) {
      close(fd)
      return -ERRNO.ENFILE
    }
    const slot = this.#acquire(key, fd, this.#domainOf(parent, key.fs, stat), flags)
    if (slot < 0 || !this.#inodes.created) close(fd)
    return slot
  }

  /**
   * As {@link lookUp}, of what was just made in directory `parent` and is open as `openFd`, which stays the caller's. It
   * may have no name.
   */
  lookUpOpen(parent: number, openFd: number, stat: Statx): number {
    const error = statFd(stat, openFd)
    if (error < 0) return error
    let fs = this.#filesystemOf(openFd, EMPTY, stat)
    if (fs < 0) return fs
    const key = this.#key
    key.fs = fs
    key.inoLow = stat.inoLow
    key.inoHigh = stat.inoHigh
    key.handleSize = 0
    if (this.#filesystems.hasHandles(fs)) {
      const size = nameToHandle(openFd, EMPTY, key.handle)
      if (size > 0) {
        key.handleSize = size
        fs = this.#renewed(key, stat)
        return fs < 0 ? fs : this.#acquire(key, -1, this.#domainOf(parent, fs, stat), 0)
      }
    }
    const fd = reopen(openFd, O_PATH)
    if (fd < 0 || fd > this.#descriptorsMax) {
      if (fd >= 0) close(fd)
      return fd < 0 ? fd : -ERRNO.ENFILE
    }
    const slot = this.#acquire(key, fd, this.#domainOf(parent, fs, stat), 0)
    if (slot < 0 || !this.#inodes.created) close(fd)
    return slot
  }

  /**
   * An O_PATH descriptor of the directory `name` in `parent`, which is open as `dirFd`, before it is removed: for {@link keepRemoved}. Negative where there is none, or
   * where each inode has a descriptor in any case.
   */
  openRemoved(parent: number, dirFd: number, name: Uint8Array): number {
    if (!this.#filesystems.hasHandles(this.#inodes.get(parent, SLOT.FS))) return -ERRNO.EOPNOTSUPP
    return openat(dirFd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY)
  }

  /** Takes `fd`, of a directory that was removed: it is kept where the kernel knows the inode, for as long as it does. `stat` is overwritten. */
  keepRemoved(fd: number, stat: Statx): void {
    if (!(fd <= this.#removedMax && statFd(stat, fd) === 0 && stat.nlink === 0 && this.#keep(fd, stat))) close(fd)
  }

  /** By its handle, so it is the slot of this inode, whatever was in the name's place when the kernel looked. */
  #keep(fd: number, stat: Statx): boolean {
    const key = this.#key
    key.fs = this.#filesystems.find(stat)
    key.inoLow = stat.inoLow
    key.inoHigh = stat.inoHigh
    key.handleSize = nameToHandle(fd, EMPTY, key.handle)
    return key.fs >= 0 && key.handleSize > 0 && this.#isOf(key.fs, key) && this.#inodes.keepRemoved(key, fd)
  }

  #acquire(key: InodeKey, fd: number, domain: number, flags: number): number {
    const slot = this.#inodes.acquire(key, fd, domain, flags)
    return slot < 0 ? -ERRNO.ENFILE : slot
  }

  /** Makes the root's slot (0); once, before any worker starts. `stat` is of the root. */
  addRoot(stat: Statx, handles: boolean): void {
    const key = this.#key
    key.fs = this.#filesystems.add(stat, 0, handles)
    key.inoLow = stat.inoLow
    key.inoHigh = stat.inoHigh
    key.handleSize = 0
    const slot = this.#inodes.acquire(key, this.#source.rootFd, 0, SLOT_FLAG.DIRECTORY)
    if (slot !== 0) throw new Error(`the root got slot ${slot}`)
  }

  /** An O_PATH (or better) descriptor of the slot's file, to be given back with {@link unpin}; or -errno. */
  pin(slot: number): number {
    const { words } = this.#inodes
    const at = this.#inodes.at(slot)
    if (words[at + SLOT.FLAGS]! & SLOT_FLAG.HIDDEN) return -ERRNO.EACCES
    if (words[at + SLOT.HANDLE_SIZE] === 0) return Atomics.load(words, at + SLOT.FD)
    if ((words[at + SLOT.FLAGS]! & SLOT_FLAG.DIRECTORY) === 0) return this.#openByHandle(slot, O_PATH)
    for (;;) {
      const pins = Atomics.load(words, at + SLOT.PINS)
      if (pins === PINS_EVICTING) continue
      if (Atomics.compareExchange(words, at + SLOT.PINS, pins, pins + 1) === pins) break
    }
    const fd = Atomics.load(words, at + SLOT.FD)
    if (fd >= 0) return fd
    const lock = this.#inodes.lockOf(slot)
    lock.lock()
    try {
      if (words[at + SLOT.FD]! >= 0) return words[at + SLOT.FD]!
      const opened = this.#openByHandle(slot, O_PATH)
      if (opened < 0) {
        Atomics.sub(words, at + SLOT.PINS, 1)
        return opened
      }
      const kept = Atomics.compareExchange(words, at + SLOT.FD, -1, opened)
      if (kept < 0) return opened
      // It has just been removed, see keepRemoved.
      close(opened)
      return kept
    } finally {
      lock.unlock()
    }
  }

  unpin(slot: number, fd: number): void {
    const { words } = this.#inodes
    const at = this.#inodes.at(slot)
    if (words[at + SLOT.HANDLE_SIZE] === 0) return
    if ((words[at + SLOT.FLAGS]! & SLOT_FLAG.DIRECTORY) === 0) close(fd)
    else Atomics.sub(words, at + SLOT.PINS, 1)
  }

  /** Opens the slot's file with `flags` (not O_PATH): a descriptor of the caller's own, or -errno. */
  open(slot: number, flags: number): number {
    if (this.#inodes.get(slot, SLOT.FLAGS) & SLOT_FLAG.HIDDEN) return -ERRNO.EACCES
    if (this.#inodes.get(slot, SLOT.HANDLE_SIZE) > 0) return this.#openByHandle(slot, flags)
    return reopen(this.#inodes.get(slot, SLOT.FD), flags)
  }

  /** As {@link open}, of a descriptor that a client will hold as an open file: -ENFILE where so many do that few are left. */
  openForClient(slot: number, flags: number): number {
    const fd = this.open(slot, flags)
    if (fd <= this.#openFilesMax) return fd
    close(fd)
    this.#evictAll()
    const again = this.open(slot, flags)
    if (again <= this.#openFilesMax) return again
    close(again)
    return -ERRNO.ENFILE
  }

  /** Whether a client may open one more file. `dirFd`: of any directory. */
  canOpenForClient(dirFd: number): boolean {
    if (this.#hasRoom(dirFd)) return true
    this.#evictAll()
    return this.#hasRoom(dirFd)
  }

  #hasRoom(dirFd: number): boolean {
    const fd = openat(dirFd, HERE, O_PATH)
    if (fd >= 0) close(fd)
    return fd >= 0 && fd <= this.#openFilesMax
  }

  /** Whether the slot is an empty directory that stands for something else: it has attributes and an inode number, and nothing to open. */
  isHidden(slot: number): boolean {
    return (this.#inodes.get(slot, SLOT.FLAGS) & SLOT_FLAG.HIDDEN) !== 0
  }

  /** Stats the slot's file: 0 or -errno. */
  stat(slot: number, stat: Statx, mask?: number): number {
    if (this.isHidden(slot)) {
      stat.words.fill(0)
      stat.setMask(STATX_BASIC_STATS)
      stat.setIno(this.#inodes.get(slot, SLOT.INO_LOW), this.#inodes.get(slot, SLOT.INO_HIGH))
      showEmpty(stat)
      return 0
    }
    const fd = this.pin(slot)
    if (fd < 0) return fd
    const error = stat.ofFd(fd, mask)
    this.unpin(slot, fd)
    return error
  }

  /** Frees a slot that the table said is unused. */
  free(slot: number): void {
    const fd = Atomics.exchange(this.#inodes.words, this.#inodes.at(slot) + SLOT.FD, -1)
    if (fd >= 0) close(fd)
    this.#inodes.release(slot)
  }

  /**
   * Closes descriptors of directories that nobody uses, from slot `from` on, at most `count` of them. Returns the slot to
   * go on from, 0 at the end. Any thread.
   */
  evict(from: number, count: number): number {
    const end = this.#inodes.highWater
    let left = count
    for (let slot = Math.max(1, from); slot < end; slot++) {
      if (left === 0) return slot
      if (this.#inodes.get(slot, SLOT.FD) < 0) continue
      const fd = this.#inodes.takeIdleDescriptor(slot)
      if (fd < 0) continue
      close(fd)
      left--
    }
    return 0
  }

  /** Closes the descriptors of all directories that nobody uses. */
  #evictAll(): void {
    this.evict(0, Number.POSITIVE_INFINITY)
  }

  /** Where descriptors run short, those of idle directories go. */
  #openByHandle(slot: number, flags: number): number {
    const handle = this.#inodes.handle(slot)
    let fd = openByHandle(this.#source.handleMountFd, handle, flags)
    // Twice: the first time may come to the end of the table.
    for (let tries = 0; fd === -ERRNO.EMFILE && tries < 2; tries++) {
      this.#evictFrom = this.evict(this.#evictFrom, EVICTED_AT_ONCE)
      fd = openByHandle(this.#source.handleMountFd, handle, flags)
    }
    if (fd > this.#descriptorsMax) this.#evictFrom = this.evict(this.#evictFrom, EVICTED_AT_ONCE)
    return fd
  }

  /** Number of the file system that `stat`, of `name` in `dirFd`, came from, or -errno. */
  #filesystemOf(dirFd: number, name: Uint8Array, stat: Statx): number {
    const known = this.#filesystems.find(stat)
    if (known >= 0) return known
    const size = nameToHandle(dirFd, name, this.#handle)
    // Another file system's subvolumes have the same numbers.
    const isOfSource = stat.mountId === this.#source.rootMountId
    const subvolumeId = size > 0 && isOfSource ? handleSubvolume(this.#handle) : 0
    const handles = size > 0 && this.#source.handleMountFd >= 0 && isOfSource
    const fs = this.#filesystems.add(stat, subvolumeId, handles)
    return fs < 0 ? -ERRNO.ENFILE : fs
  }

  /** Whether the handle in `key` is of file system `fs`: another subvolume may have the device number of one that was deleted. */
  #isOf(fs: number, { handle }: InodeKey): boolean {
    return this.#filesystems.isOfSubvolume(fs, handleSubvolume(handle))
  }

  /** The file system that `key` is of, now that its handle is known to be of what was stat'ed: in the key, and returned; or -errno. */
  #renewed(key: InodeKey, stat: Statx): number {
    if (!this.#isOf(key.fs, key)) key.fs = this.#filesystems.add(stat, handleSubvolume(key.handle), true)
    return key.fs < 0 ? -ERRNO.ENFILE : key.fs
  }

  #domainOf(parent: number, fs: number, stat: Statx): number {
    switch (this.#source.domain) {
      case 'none':
        return 0
      case 'uid':
        return stat.uid
      case 'dir':
        // A top-level entry founds a domain, everything below belongs to it. Its name is the number that the mount shows: its own is
        // not enough, all subvolumes of btrfs have the same.
        return parent === 0
          ? this.#filesystems.shownInoHigh(fs, stat.inoHigh) * 2 ** 32 + stat.inoLow
          : this.#inodes.domain(parent)
    }
  }
}

const EMPTY = cString('')
const HERE = cString('.')
/** BTRFS_EMPTY_SUBVOL_DIR_OBJECTID. */
const BTRFS_EMPTY_SUBVOLUME_INO = 2

/** Makes `stat` that of an empty directory: what stands for something that is not shown, and of which nothing is told but its number. */
function showEmpty(stat: Statx): void {
  stat.setMode(S_IFDIR | 0o755)
  stat.setNlink(1) // How many directories there are is not told.
  stat.setEmpty()
}
