/** The keeper's door on its own thread, for itself and for one other thread each. */
import fs from 'node:fs'
import { promisify } from 'node:util'
import type { CachedInode } from './cached-inode.ts'
import type { DirectMemory } from './direct-memory.ts'
import type { Door, DoorNow, OpenedFile } from './door.ts'
import { withPath } from './errors.ts'
import type { FileKeeper } from './file-keeper.ts'
import { DoorGrants, type GrantedBytes } from './grants/door-grants.ts'
import type { ExclusiveWish } from './grants/grants.ts'
import type { LayoutHandle } from './layout.ts'
import type { MergeStats } from './merging.ts'
import type { NearMemory } from './near-memory.ts'

const fsync = promisify(fs.fsync)
const fdatasync = promisify(fs.fdatasync)

export class OwnDoor implements Door, DoorNow {
  readonly now = this
  /** Tells the node that the thread behind it is on. */
  near: () => number
  readonly #keeper: FileKeeper
  readonly #grants: DoorGrants
  onRevoke: ((grant: number, deadlineMs: number) => void) | undefined
  readonly #nearMemory: NearMemory | undefined
  readonly #dax: DirectMemory | undefined
  readonly #open = new Map<number, CachedInode>()
  /** Of open files, those that were opened for writing. */
  readonly #writable = new Set<number>()
  /** Of open files, the node on which they were opened: where each node has pages of its own, theirs are those. */
  readonly #nodes = new Map<number, number>()
  #nextId = 1
  #nextGrant = 1
  #isEnded = false

  /** `thread`: whose door it is. */
  constructor(keeper: FileKeeper, thread: number, near: () => number, nearMemory?: NearMemory, dax?: DirectMemory) {
    this.#keeper = keeper
    this.#grants = new DoorGrants(keeper.grants, thread, (grant, deadlineMs) => this.onRevoke?.(grant, deadlineMs))
    this.#nearMemory = nearMemory
    this.#dax = dax
    this.near = near
  }

  async open(path: string, writable: boolean, domain: number): Promise<OpenedFile> {
    const near = this.near()
    return this.#opened(await this.#keeper.open(path, writable, domain), writable, near)
  }

  openSync(path: string, writable: boolean, domain: number): OpenedFile {
    return this.#opened(this.#keeper.openSync(path, writable, domain), writable, this.near())
  }

  async layout(id: number): Promise<LayoutHandle> {
    return this.layoutSync(id)
  }

  layoutSync(id: number): LayoutHandle {
    return this.#layoutOf(id, this.#inode(id))
  }

  load(
    id: number,
    page: number,
    count: number,
    wanted: number,
    wait: boolean,
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return this.#keeper.load(this.#inode(id), page, count, wanted, this.#nodeOf(id), wait, signal)
  }

  loadSync(id: number, page: number, count: number, wanted: number): void {
    this.#keeper.loadSync(this.#inode(id), page, count, wanted, this.#nodeOf(id))
  }

  readPastSync<T>(id: number, from: number, to: number, read: () => T): T {
    return this.#keeper.passages.readSync(this.#inode(id), from, to, read)
  }

  write(id: number, bytes: Uint8Array, position: number, wait: boolean): Promise<void> {
    return this.#keeper.writer.write(this.#inode(id), bytes, position, wait)
  }

  writeSync(id: number, bytes: Uint8Array, position: number): void {
    this.#keeper.writer.writeSync(this.#inode(id), bytes, position, this.#nodeOf(id))
  }

  async truncate(id: number, length: number): Promise<void> {
    await this.#keeper.writer.truncate(this.#inode(id), length)
  }

  truncateSync(id: number, length: number): void {
    this.#keeper.writer.truncateSync(this.#inode(id), length)
  }

  async sync(id: number, dataOnly: boolean): Promise<void> {
    const inode = this.#inode(id)
    const writes = inode.writeFd >= 0
    inode.use(writes)
    try {
      await (dataOnly ? fdatasync : fsync)(descriptorOf(inode))
    } catch (error) {
      throw withPath(error, inode.path)
    } finally {
      this.#keeper.close(inode, writes)
    }
  }

  syncSync(id: number, dataOnly: boolean): void {
    const inode = this.#inode(id)
    try {
      ;(dataOnly ? fs.fdatasyncSync : fs.fsyncSync)(descriptorOf(inode))
    } catch (error) {
      throw withPath(error, inode.path)
    }
  }

  merge(id: number, page: number, count: number): Promise<MergeStats> {
    return this.#keeper.merge(this.#inode(id), page, count, this.#nodeOf(id))
  }

  forget(id: number, page: number, count: number): void {
    this.#keeper.forgetPages(this.#inode(id), page, count)
  }

  async close(id: number): Promise<void> {
    this.closeSync(id)
  }

  closeSync(id: number): void {
    const inode = this.#inode(id)
    this.#open.delete(id)
    this.#nodes.delete(id)
    this.#grants.close(id)
    this.#keeper.close(inode, this.#writable.delete(id))
  }

  exclusive(id: number, grant: number, holder: string | undefined, wish: ExclusiveWish): Promise<GrantedBytes> {
    return this.#grants.request(grant, id, this.#inode(id), holder, wish)
  }

  publish(grant: number, bytes: Uint8Array, sync: boolean): Promise<void> {
    return this.#grants.publish(grant, bytes, sync)
  }

  async abandon(grant: number): Promise<void> {
    this.#grants.abandon(grant)
  }

  revoke(id: number, position: number, length: number, deadlineMs: number): Promise<number> {
    return this.#keeper.grants.revoke(this.#inode(id), position, length, deadlineMs)
  }

  grantNumber(): number {
    return this.#nextGrant++
  }

  sampled(node: number, samples: Int32Array): void {
    this.#nearMemory?.sampled(node, samples)
  }

  sampledDirect(samples: Int32Array): void {
    this.#dax?.sampled(this.near(), samples)
  }

  /** Closes all that is open through this door: the thread behind it is no more. */
  closeAll(): void {
    this.#isEnded = true
    this.#grants.close()
    for (const id of [...this.#open.keys()]) this.closeSync(id)
  }

  get ended(): 'here' | undefined {
    return this.#isEnded ? 'here' : undefined
  }

  get filesOpen(): number {
    return this.#open.size
  }

  /** The node that loads for the file are for. */
  #nodeOf(id: number): number {
    return this.#nodes.get(id) ?? this.near()
  }

  #layoutOf(id: number, inode: CachedInode): LayoutHandle {
    const node = this.#nodes.get(id)
    return node === undefined ? inode.layout : { ...inode.layout, node }
  }

  #opened(inode: CachedInode, writable: boolean, near: number): OpenedFile {
    if (this.#isEnded) {
      this.#keeper.close(inode, writable)
      throw closedError()
    }
    const id = this.#nextId++
    this.#open.set(id, inode)
    if (writable) this.#writable.add(id)
    if (this.#nearMemory?.mode === 'inode') this.#nodes.set(id, near)
    return { id, fd: inode.fd, key: inode.key, layout: this.#layoutOf(id, inode) }
  }

  #inode(id: number): CachedInode {
    const inode = this.#open.get(id)
    if (inode === undefined) throw closedError()
    return inode
  }
}

function closedError(): Error {
  return Object.assign(new Error('EBADF: the file is closed'), { code: 'EBADF' })
}

function descriptorOf(inode: CachedInode): number {
  return inode.writeFd >= 0 ? inode.writeFd : inode.fd
}
