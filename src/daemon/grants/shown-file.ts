/**
 * A file that a client has shown to be open to him, in whatever way: holdings.ts asks whether he may write to it. It is kept: the kernel may forget the inode meanwhile, and
 * the file may lose its name. Context: the grants' thread.
 */
import fs from 'node:fs'
import path from 'node:path'
import { close, O_NONBLOCK } from '../../linux/file.ts'
import { Statx } from '../../linux/statx.ts'
import type { Context } from '../handlers/context.ts'
import { lockKeyOf } from '../handlers/locking.ts'
import { freeSlot } from '../handlers/lookup.ts'
import { SLOT } from '../inode-table.ts'
import type { GrantBytes, GrantFile } from './grant-file.ts'
import type { InodeNumber } from './granted-ranges.ts'
import { whatIsInTheWay } from './in-the-way.ts'
import { forgetCopies, type Publisher, publish } from './publishing.ts'
import { UndoableCopy } from './undoable-copy.ts'

const stat = new Statx()

export interface ShownFileParts extends Publisher {
  /** `major:minor` of the mount. */
  readonly device: string
}

export class ShownFile implements GrantFile {
  readonly slot: number
  /** Of the inode, whatever slots it has. */
  readonly key: string
  readonly number: InodeNumber
  /** The file below, for reading. */
  readonly fd: number
  readonly #parts: ShownFileParts
  readonly #gone: () => void
  #users = 1

  private constructor(parts: ShownFileParts, slot: number, fd: number, gone: () => void) {
    const { inodes } = parts.context
    this.#parts = parts
    this.#gone = gone
    this.slot = slot
    this.fd = fd
    this.key = lockKeyOf(inodes, slot)
    this.number = {
      fs: inodes.get(slot, SLOT.FS),
      inoLow: inodes.get(slot, SLOT.INO_LOW),
      inoHigh: inodes.get(slot, SLOT.INO_HIGH),
    }
  }

  /** Of a slot that the client has open now; -errno where it cannot be opened. `gone` is called when nobody uses it any more. */
  static of(parts: ShownFileParts, slot: number, gone: () => void): ShownFile | number {
    const { context } = parts
    const fd = context.files.open(slot, O_NONBLOCK)
    if (fd < 0) return fd
    context.inodes.keep(slot)
    return new ShownFile(parts, slot, fd, gone)
  }

  /** The number that the mount shows for it. */
  get shownIno(): bigint {
    const { fs, inoLow, inoHigh } = this.number
    return (BigInt(this.#context.filesystems.shownInoHigh(fs, inoHigh)) << 32n) | BigInt(inoLow >>> 0)
  }

  get #context(): Context {
    return this.#parts.context
  }

  size(): number {
    const error = stat.ofFd(this.fd)
    return error < 0 ? error : stat.size
  }

  /** What it is called in the source now, for people; empty where that cannot be told. */
  get path(): string {
    try {
      const of = (fd: number) => fs.readlinkSync(`/proc/self/fd/${fd}`)
      return path.relative(of(this.#context.source.rootFd), of(this.fd))
    } catch {
      return ''
    }
  }

  inTheWay(): Promise<string | undefined> {
    return whatIsInTheWay(this.#context, this.#parts.device, this)
  }

  copy(start: number, length: number): GrantBytes | number {
    const bytes = UndoableCopy.copy(this.fd, start, length)
    if (typeof bytes === 'number') return bytes
    return {
      start,
      length,
      memory: bytes.memory,
      publish: (who, sync) => publish(this.#parts, this, bytes, who, sync),
      close: () => bytes.close(),
    }
  }

  forgetCopies(start: number, length: number): Promise<void> {
    return forgetCopies(this.#context, this, start, length)
  }

  share(): this {
    this.#users++
    return this
  }

  release(): void {
    if (--this.#users > 0) return
    this.#gone()
    close(this.fd)
    if (this.#context.inodes.forget(this.slot, 1)) freeSlot(this.#context, this.slot)
  }
}
