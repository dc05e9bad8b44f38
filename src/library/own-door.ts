/** The keeper's door on its own thread, for itself and for one other thread each. */
import type { CachedInode } from './cached-inode.ts'
import type { DirectMemory } from './direct-memory.ts'
import type { Door, DoorNow, OpenedFile } from './door.ts'
import { asOpened, systemError, withPath } from './errors.ts'
import type { FileKeeper } from './file-keeper.ts'
import type { Heard } from './file-syncs.ts'
import { DoorGrants, type NumberedGrant } from './grants/door-grants.ts'
import type { ExclusiveWish } from './grants/grants.ts'
import type { LayoutHandle } from './layout.ts'
import type { MergeStats } from './merging.ts'
import type { NearMemory } from './near-memory.ts'

/** A file that is open through the door. */
interface Opened {
  readonly inode: CachedInode
  /** As it was given to `open`. */
  readonly path: string
  readonly writable: boolean
  /** Of what could not be written. */
  readonly heard: Heard
}

export class OwnDoor implements Door, DoorNow {
  readonly now = this
  /** Tells the node that the thread behind it is on. */
  near: () => number
  readonly #keeper: FileKeeper
  readonly #grants: DoorGrants
  onRevoke: ((grant: number, deadlineMs: number) => void) | undefined
  readonly #nearMemory: NearMemory | undefined
  readonly #dax: DirectMemory | undefined
  readonly #open = new Map<number, Opened>()
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
    return this.#opened(await this.#keeper.open(path, writable, domain), path, writable, near)
  }

  openSync(path: string, writable: boolean, domain: number): OpenedFile {
    return this.#opened(this.#keeper.openSync(path, writable, domain), path, writable, this.near())
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
    return this.#later(id, (inode) => this.#keeper.load(inode, page, count, wanted, this.#nodeOf(id), wait, signal))
  }

  loadSync(id: number, page: number, count: number, wanted: number): void {
    this.#now(id, (inode) => this.#keeper.loadSync(inode, page, count, wanted, this.#nodeOf(id)))
  }

  readPastSync<T>(id: number, from: number, to: number, read: () => T): T {
    return this.#now(id, (inode) => this.#keeper.passages.readSync(inode, from, to, read))
  }

  write(id: number, bytes: Uint8Array, position: number, wait: boolean): Promise<void> {
    return this.#later(id, (inode) => this.#keeper.writer.write(inode, bytes, position, wait))
  }

  writeSync(id: number, bytes: Uint8Array, position: number): void {
    this.#now(id, (inode) => this.#keeper.writer.writeSync(inode, bytes, position, this.#nodeOf(id)))
  }

  async truncate(id: number, length: number): Promise<void> {
    await this.#later(id, (inode) => this.#keeper.writer.truncate(inode, length))
  }

  truncateSync(id: number, length: number): void {
    this.#now(id, (inode) => this.#keeper.writer.truncateSync(inode, length))
  }

  async sync(id: number, dataOnly: boolean): Promise<void> {
    const { inode, path, heard } = this.#entry(id)
    const writes = inode.writeFd >= 0
    inode.use(writes)
    try {
      await inode.syncs.sync(descriptorOf(inode), dataOnly, heard)
    } catch (error) {
      throw withPath(error, path)
    } finally {
      this.#keeper.close(inode, writes)
    }
  }

  syncSync(id: number, dataOnly: boolean): void {
    const { inode, path, heard } = this.#entry(id)
    try {
      inode.syncs.syncSync(descriptorOf(inode), dataOnly, heard)
    } catch (error) {
      throw withPath(error, path)
    }
  }

  merge(id: number, page: number, count: number): Promise<MergeStats> {
    return this.#later(id, (inode) => this.#keeper.merge(inode, page, count, this.#nodeOf(id)))
  }

  async forget(id: number, page: number, count: number): Promise<void> {
    this.#keeper.forgetPages(this.#inode(id), page, count)
  }

  async close(id: number): Promise<void> {
    this.closeSync(id)
  }

  closeSync(id: number): void {
    // The end of the door has closed it, and nobody else needs to.
    if (this.#isEnded && !this.#open.has(id)) return
    const { inode, writable } = this.#entry(id)
    this.#open.delete(id)
    this.#nodes.delete(id)
    this.#grants.close(id)
    this.#keeper.close(inode, writable)
  }

  exclusive(id: number, grant: number, holder: string | undefined, wish: ExclusiveWish): Promise<NumberedGrant> {
    return this.#later(id, (inode) => this.#grants.request(grant, id, inode, holder, wish))
  }

  publish(grant: number, bytes: Uint8Array, sync: boolean): Promise<void> {
    const id = this.#grants.fileOf(grant)
    const publish = () => this.#grants.publish(grant, bytes, sync)
    return id === undefined ? publish() : this.#later(id, publish)
  }

  async abandon(grant: number): Promise<void> {
    this.#grants.abandon(grant)
  }

  revoke(id: number, position: number, length: number, deadlineMs: number): Promise<number> {
    return this.#later(id, (inode) => this.#keeper.grants.revoke(inode, position, length, deadlineMs))
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

  #opened(inode: CachedInode, path: string, writable: boolean, near: number): OpenedFile {
    if (this.#isEnded) {
      this.#keeper.close(inode, writable)
      throw systemError('EBADF', 'the cache was closed meanwhile', 'open', path)
    }
    const id = this.#nextId++
    this.#open.set(id, { inode, path, writable, heard: inode.syncs.heard() })
    if (this.#nearMemory?.mode === 'inode') this.#nodes.set(id, near)
    return { id, fd: inode.fd, key: inode.key, layout: this.#layoutOf(id, inode) }
  }

  #inode(id: number): CachedInode {
    return this.#entry(id).inode
  }

  #entry(id: number): Opened {
    const opened = this.#open.get(id)
    // Who closes a file in the midst of a read of his own.
    if (opened === undefined)
      throw Object.assign(new Error('EBADF: the file is closed'), { code: 'EBADF', syscall: 'read' })
    return opened
  }

  /** What `call` does with the file; its errors name it as it was opened here. */
  #now<T>(id: number, call: (inode: CachedInode) => T): T {
    const { inode, path } = this.#entry(id)
    const known = inode.path
    try {
      return call(inode)
    } catch (error) {
      throw asOpened(error, known, path)
    }
  }

  /** The same, of a call that returns a promise. */
  #later<T>(id: number, call: (inode: CachedInode) => Promise<T>): Promise<T> {
    const { inode, path } = this.#entry(id)
    const known = inode.path
    const called = call(inode)
    if (path === known) return called
    return called.catch((error: unknown) => {
      throw asOpened(error, known, path)
    })
  }
}

function descriptorOf(inode: CachedInode): number {
  return inode.writeFd >= 0 ? inode.writeFd : inode.fd
}
