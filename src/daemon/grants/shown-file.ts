/**
 * A file that a client has shown to be open to him for reading and writing. It is kept: the kernel may forget the inode meanwhile, and the file may lose
 * its name. Context: the grants' thread.
 */
import fs from 'node:fs'
import path from 'node:path'
import { close, O_NONBLOCK } from '../../linux/file.ts'
import { Statx } from '../../linux/statx.ts'
import { freeSlot } from '../handlers/attributes.ts'
import type { Context } from '../handlers/context.ts'
import { lockKeyOf } from '../handlers/locking.ts'
import { SLOT } from '../inode-table.ts'
import type { InodeNumber } from './granted-ranges.ts'

const stat = new Statx()

export class ShownFile {
  readonly slot: number
  /** Of the inode, whatever slots it has. */
  readonly key: string
  readonly number: InodeNumber
  /** The file below, for reading. */
  readonly fd: number
  readonly #context: Context
  readonly #gone: () => void
  #users = 1

  private constructor(context: Context, slot: number, fd: number, gone: () => void) {
    const { inodes } = context
    this.#context = context
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

  /** Of a slot that the client has open now, `gone` is called when nobody uses it any more; -errno where it cannot be opened, or is no regular file. */
  static of(context: Context, slot: number, gone: () => void): ShownFile | number {
    const fd = context.files.open(slot, O_NONBLOCK)
    if (fd < 0) return fd
    context.inodes.keep(slot)
    return new ShownFile(context, slot, fd, gone)
  }

  /** The number that the mount shows for it. */
  get shownIno(): bigint {
    const { fs: index, inoLow, inoHigh } = this.number
    return (BigInt(this.#context.filesystems.shownInoHigh(index, inoHigh)) << 32n) | BigInt(inoLow >>> 0)
  }

  /** Bytes now, or -errno. */
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

  /** One more who uses it, until he calls {@link release}. */
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
