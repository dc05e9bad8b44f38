/** Walks the trees and notes which file uses which blocks, by file system. What cannot be made to share is counted, by its reason. */
import fs from 'node:fs'
import { NO_DIRECTORY } from '../inspect/directories.ts'
import { deviceNumber, type WalkedDevice, type WalkedFilesystem } from '../inspect/filesystems.ts'
import { openQuietly } from '../inspect/quiet-reader.ts'
import { type Handler, Selection, type SelectionOptions } from '../inspect/selection.ts'
import type { Entry } from '../inspect/walk.ts'
import { close } from '../linux/file.ts'
import { FS_FLAG, getFlags } from '../linux/file-attributes.ts'
import { isOpenForWriting } from '../linux/lease.ts'
import { unescapeField } from '../linux/mountinfo.ts'
import { AT_FDCWD, STATX_ATTR, Statx, statxPath } from '../linux/statx.ts'
import { ExtentFlag, ExtentList, isAddressable } from '../storage/extents.ts'
import { whyFileUntrusted } from '../storage/filesystem.ts'
import { readExtents } from '../storage/read-extents.ts'
import { PAGE_BYTES } from '../util/page.ts'
import { FileUses } from './file-uses.ts'
import { whyNoDedupe } from './refused.ts'

export interface CollectOptions extends SelectionOptions {
  /** Bytes; a multiple of a page. */
  minRun: number
  /** Between whose files nothing is shared: of different owners, or below different entries of the directories given. */
  domain: 'none' | 'uid' | 'dir'
}

/** Files, each once, by what became of them. */
export interface FileCounts {
  /** Compared with others. */
  compared: number
  /** Smaller than the least run. */
  small: number
  /** Open for writing now. */
  busy: number
  immutable: number
  swap: number
  /** nodatacow of btrfs: it shares with its like only, and is meant to be written in place. */
  nodatacow: number
  /** On the realtime device of an XFS. */
  realtime: number
  /** On file systems that cannot share, or are read-only. */
  elsewhere: number
}

/** What one file system has. */
export interface Collected {
  readonly filesystem: WalkedFilesystem
  readonly uses: FileUses
}

export class Collector implements Handler {
  readonly selection: Selection
  readonly counts: FileCounts = {
    compared: 0,
    small: 0,
    busy: 0,
    immutable: 0,
    swap: 0,
    nodatacow: 0,
    realtime: 0,
    elsewhere: 0,
  }
  /** Why files lie elsewhere, by the kind of file system. */
  readonly elsewhere = new Map<string, string>()
  /** Bytes in extents that are compressed, or lie among metadata. */
  incomparableBytes = 0

  readonly #options: CollectOptions
  readonly #onProgress: (files: number, directory: string) => void
  readonly #stat = new Statx()
  readonly #extents = new ExtentList()
  readonly #directories: string[] = []
  readonly #uses = new Map<WalkedFilesystem, FileUses>()
  readonly #swapFiles = swapFiles()
  readonly #domains = new Map<string, number>()
  #argument = 0

  constructor(options: CollectOptions, onProgress: (files: number, directory: string) => void) {
    this.#options = options
    this.#onProgress = onProgress
    this.selection = new Selection(options, this, this.#stat)
  }

  /** Walks. Blocks the thread, apart from calls of `onProgress`. */
  run(): Collected[] {
    this.selection.walk()
    return [...this.#uses].map(([filesystem, uses]) => ({ filesystem, uses }))
  }

  enter(parent: number): number {
    if (parent === NO_DIRECTORY) this.#argument++
    return this.#directories.push(this.selection.directory) - 1
  }

  leave(): void {}

  file(entry: Entry, device: WalkedDevice): number {
    this.#onProgress(this.counts.compared + this.counts.small, this.selection.directory)
    const { filesystem } = device
    const { size } = this.#stat
    const why = this.#whyElsewhere(filesystem)
    if (why !== undefined) this.counts.elsewhere++
    else if (size < this.#options.minRun) this.counts.small++
    // A bind mount of a single file would look like a clone of it. (Hard links were recognised before.)
    else if (this.selection.isFirst(device)) return this.#open(entry, device)
    return 0
  }

  #open(entry: Entry, device: WalkedDevice): number {
    const fd = openQuietly(entry.directoryFd, entry.pointer)
    if (fd < 0) return fd
    try {
      const obstacle = this.#obstacle(fd, device)
      if (obstacle !== undefined) {
        this.counts[obstacle]++
        return 0
      }
      const { size, ino } = this.#stat
      const error = readExtents(fd, 0, Math.ceil(size / PAGE_BYTES) * PAGE_BYTES, this.#extents)
      if (error < 0) return error
      const uses = this.#usesOf(device.filesystem)
      uses.addFile({
        directory: entry.directory,
        name: entry.name(),
        device: device.number,
        ino,
        size,
        domain: this.#domainOf(entry),
      })
      this.#addUses(uses, size)
      this.counts.compared++
      return 0
    } finally {
      close(fd)
    }
  }

  /** What keeps a file from being made to share. */
  #obstacle(fd: number, device: WalkedDevice): keyof FileCounts | undefined {
    const stat = this.#stat
    const { identified } = device.filesystem
    if ((stat.attributesLow & STATX_ATTR.IMMUTABLE) !== 0) return 'immutable'
    if (this.#swapFiles.has(`${device.number}:${stat.ino}`)) return 'swap'
    if (identified.kind === 'btrfs' && (getFlags(fd) & FS_FLAG.NOCOW) !== 0) return 'nodatacow'
    if (whyFileUntrusted(fd, identified) !== undefined) return 'realtime'
    return isOpenForWriting(fd) === true ? 'busy' : undefined
  }

  #addUses(uses: FileUses, size: number): void {
    const { count, logical, physical, length, flags } = this.#extents
    for (let i = 0; i < count; i++) {
      const start = logical[i]!
      if ((flags[i]! & ExtentFlag.UNWRITTEN) !== 0) continue
      const isWhole = start % PAGE_BYTES === 0 && physical[i]! % PAGE_BYTES === 0
      if (!isAddressable(flags[i]!) || !isWhole) this.incomparableBytes += length[i]!
      else uses.addUse(start, Math.min(start + length[i]!, size), physical[i]!, (flags[i]! & ExtentFlag.SHARED) !== 0)
    }
  }

  #usesOf(filesystem: WalkedFilesystem): FileUses {
    let uses = this.#uses.get(filesystem)
    if (uses === undefined) {
      uses = new FileUses(this.#directories)
      this.#uses.set(filesystem, uses)
    }
    return uses
  }

  #domainOf(entry: Entry): number {
    switch (this.#options.domain) {
      case 'none':
        return 0
      case 'uid':
        return this.#stat.uid
      case 'dir': {
        // Files that are arguments are entries of the directories in which they are shown.
        const root = entry.directoryFd === AT_FDCWD ? `file ${entry.directory}` : this.#argument
        const key = `${root}/${entry.relativePath().split('/')[0]}`
        const known = this.#domains.get(key)
        if (known !== undefined) return known
        this.#domains.set(key, this.#domains.size)
        return this.#domains.size - 1
      }
    }
  }

  #whyElsewhere(filesystem: WalkedFilesystem): string | undefined {
    const { kind } = filesystem.identified
    if (this.#uses.has(filesystem)) return undefined
    const why = whyNoDedupe(filesystem.identified)
    if (why !== undefined) this.elsewhere.set(kind, why)
    return why
  }
}

/** Of the swap areas that are files: device and inode number. */
function swapFiles(): ReadonlySet<string> {
  const found = new Set<string>()
  try {
    for (const line of fs.readFileSync('/proc/swaps', 'utf8').split('\n').slice(1)) {
      const [path = '', type] = line.split(/\s+/)
      if (type !== 'file') continue
      const stat = statxPath(unescapeField(path))
      found.add(`${deviceNumber(stat)}:${stat.ino}`)
    }
  } catch {
    // Nobody tells, or one is gone: the kernel refuses to share with one (ETXTBSY).
  }
  return found
}
