/**
 * The inodes that the keeper knows, open or not: what they were when somebody opened them last, and how they are served. What others do to a file is noticed here, at the next open.
 *
 * Context: the keeper's thread.
 */
import fs from 'node:fs'
import type { PageKeeper } from '../cache/page-keeper.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import { isFileAtRest } from './at-rest.ts'
import { CachedInode, isSameFileStamp, NO_STAMP } from './cached-inode.ts'
import type { DirectMemory } from './direct-memory.ts'
import { notAFile, systemError } from './errors.ts'
import { FileLayouts } from './file-layouts.ts'
import type { HomeSources } from './home-sources.ts'
import type { DaxDevice, Native } from './native.ts'

/** Inodes remembered that nobody has open: half of the mappings, so that files that are opened, and homes, get one at once. */
const IDLE_MAX = 8192

/** Of these, those that have homes, each of which is a descriptor, and blocks on disk. */
const IDLE_WITH_HOMES_MAX = 1024

/** What inodes are served with. */
interface InodeSources {
  readonly native: Native | undefined
  /** Undefined: nothing is shared by address. */
  readonly homes: HomeSources | undefined
  /** Undefined: nothing is read where it lies. */
  readonly dax: DirectMemory | undefined
  /** Whether to read past the kernel's own cache where that can be done. */
  readonly direct: boolean
  /** Closes a descriptor of a file. */
  readonly closeFd: (fd: number) => void
}

export class CachedInodes {
  readonly pages: PageKeeper
  readonly #native: Native | undefined
  readonly #homes: HomeSources | undefined
  readonly #dax: DirectMemory | undefined
  readonly #direct: boolean
  readonly #closeFd: (fd: number) => void
  readonly #layouts: FileLayouts
  readonly #onShrunk: (inode: CachedInode) => void
  /** By key; those that nobody has open last used last. */
  readonly #inodes = new Map<string, CachedInode>()
  #idle = 0
  /** Idle, and served by homes; the one that was closed last, or got its homes after that, at the end. */
  readonly #idleWithHomes = new Set<CachedInode>()

  /** `onShrunk` is told of an inode whose file is shorter than was known. */
  constructor(pages: PageKeeper, sources: InodeSources, onShrunk: (inode: CachedInode) => void) {
    this.pages = pages
    this.#native = sources.native
    this.#homes = sources.homes
    this.#dax = sources.dax
    this.#direct = sources.direct
    this.#closeFd = sources.closeFd
    this.#layouts = new FileLayouts(pages, sources.homes, sources.dax, {
      isKnown: (inode) => this.#isKnown(inode),
      createMapping: (inode) => this.#createMapping(inode.domain, inode),
    })
    this.#onShrunk = onShrunk
  }

  get(key: string): CachedInode | undefined {
    return this.#inodes.get(key)
  }

  /** The inode that `fd` is open on, with one user more; `fd` becomes its own, or is closed. `unattend`: see {@link CachedInode}; called at once where it is not needed. */
  take(path: string, fd: number, domain: number, unattend?: () => void): CachedInode {
    let keep = false
    let isTaken = false
    try {
      const stat = fs.fstatSync(fd, { bigint: true })
      const device = stat.isCharacterDevice() ? this.#dax?.deviceOf(fd) : undefined
      if (!stat.isFile() && device === undefined) throw notAFile(path, stat.isDirectory())
      const stamp = CachedInode.stampOf(stat)
      // In a mount a read may wait for others; its sizes are those of the files below.
      if (stat.isFile() && stat.size === 0n && unattend === undefined && holdsMore(fd))
        throw systemError('EINVAL', 'its size does not tell what it holds', 'open', path)
      const inode = this.#known(stamp.key, path, domain) ?? this.#create(stamp.key, path, domain)
      isTaken = true
      if (inode.unattend === undefined) inode.unattend = unattend
      else unattend?.()
      let isSameMount = true
      if (inode.uses++ === 0) {
        const mount = this.#native?.uniqueMountId(fd) ?? 0
        isSameMount = inode.mount === mount
        inode.mount = mount
        this.#idle--
        this.#idleWithHomes.delete(inode)
        inode.path = path
        inode.fd = fd
        keep = true
        inode.isDax = this.#dax?.isWanted(fd) === true
        inode.isPast = inode.isDax && this.#dax?.mode === 'direct'
        if (device !== undefined) this.#serveDevice(inode, device, path)
        else if (this.#direct && !inode.isDax) inode.directFd = this.#native?.reopenDirect(fd) ?? -1
      }
      if (device !== undefined) return inode
      // While somebody has a file open its file system stays mounted. After that its device and inode numbers, ctime and size may be those of a file on another one, a copy of it that was edited by block.
      const isKnown = isSameMount && isSameFileStamp(inode.stamp, stamp)
      if (!isKnown) this.#renew(inode, stamp.size)
      else if (Date.now() < inode.recheckAtMs) return inode
      inode.stamp = stamp
      const deciding = this.#layouts.decide(inode, path, stamp).finally(() => {
        // Another open may have begun to decide anew.
        if (inode.deciding === deciding) inode.deciding = undefined
        // It may have been closed meanwhile.
        if (inode.uses === 0 && this.#isKnown(inode)) this.#limitIdleWithHomes(inode)
      })
      inode.deciding = deciding
      // What is being changed now may have got its ctime already, and its bytes will come later. A stamp that was known is one of a file at rest: what began since then would have moved it.
      if (!isKnown && !isFileAtRest(this.#native, fd, stamp)) inode.stamp = NO_STAMP
      return inode
    } finally {
      if (!keep) this.#closeFd(fd)
      if (!isTaken) unattend?.()
    }
  }

  /**
   * One user less, and where it `writes` one writer less. With the last writer its descriptor for writing goes: whoever opens the file later could not tell it from one by which others are
   * writing. With the last user all go.
   */
  close(inode: CachedInode, writes = false): void {
    const isLastWriter = writes && --inode.writers === 0
    const isLast = --inode.uses === 0
    const { writeFd } = inode
    if (isLastWriter) inode.writeFd = -1
    if (isLast) this.#closeAll(inode)
    if (isLastWriter) this.#closeFd(writeFd)
  }

  #closeAll(inode: CachedInode): void {
    if (inode.fd >= 0) this.#closeFd(inode.fd)
    // Node.js warns on workers where it closes what it has not opened.
    if (inode.directFd >= 0) this.#native?.close(inode.directFd)
    inode.unattend?.()
    inode.unattend = undefined
    inode.fd = inode.directFd = -1
    // Last in the order of use.
    this.#inodes.delete(inode.key)
    this.#inodes.set(inode.key, inode)
    this.#idle++
    inode.closedAtMs = Date.now()
    if (inode.window !== undefined) {
      this.#forget(inode)
      return
    }
    this.#limitIdleWithHomes(inode)
    if (this.#idle > IDLE_MAX) this.#forgetOldest()
  }

  /** `inode` is idle, and may have homes. */
  #limitIdleWithHomes(inode: CachedInode): void {
    if (inode.homes.length > 0) this.#idleWithHomes.add(inode)
    const [oldest] = this.#idleWithHomes
    if (this.#idleWithHomes.size > IDLE_WITH_HOMES_MAX) this.#forget(oldest!)
  }

  /** Closes what would stay open after the thread: Node.js closes what it has opened itself. */
  abandon(): void {
    for (const { directFd } of this.#inodes.values()) if (directFd >= 0) this.#native?.close(directFd)
  }

  /** Inodes that nobody has had open since `sinceMs` let their homes go; how they are served is decided anew when they are opened next. */
  letHomesGo(sinceMs: number): void {
    for (const inode of this.#inodes.values()) {
      if (inode.uses > 0 || inode.homes.length === 0 || inode.closedAtMs > sinceMs) continue
      this.#layouts.serveAlone(inode)
      this.#idleWithHomes.delete(inode)
      inode.recheckAtMs = 0
    }
  }

  /** How the file of that key is served is to be decided anew when it is opened next. */
  reconsider(key: string): void {
    const inode = this.#inodes.get(key)
    if (inode !== undefined) inode.recheckAtMs = 0
  }

  /** The inode of that key as it is known in `domain`. */
  #known(key: string, path: string, domain: number): CachedInode | undefined {
    const inode = this.#inodes.get(key)
    if (inode === undefined || inode.domain === domain) return inode
    if (inode.uses > 0) throw systemError('EBUSY', `open in domain ${inode.domain}`, 'open', path)
    this.#forget(inode)
    return undefined
  }

  #isKnown(inode: CachedInode): boolean {
    return this.#inodes.get(inode.key) === inode
  }

  #create(key: string, path: string, domain: number): CachedInode {
    const mapping = this.#createMapping(domain)
    if (mapping < 0) throw systemError('ENFILE', 'too many files are open in this cache', 'open', path)
    const inode = new CachedInode(key, path, mapping, domain, this.#onShrunk)
    this.#inodes.set(key, inode)
    this.#idle++
    return inode
  }

  /** The file is not what it was: nothing that is known of it counts any more. */
  #renew(inode: CachedInode, size: number): void {
    this.pages.drop(inode.mapping, 0, PAGES_MAX)
    this.#layouts.serveAlone(inode)
    inode.size = size
    this.pages.mappings.setSize(inode.mapping, size)
  }

  /** It is read where it lies, and known as long as somebody has it open: its window keeps the device busy. */
  #serveDevice(inode: CachedInode, device: DaxDevice, path: string): void {
    const dax = this.#dax!
    inode.window = dax.addDevice(inode.mapping, inode.fd, device)
    if (inode.window === undefined) {
      this.close(inode)
      throw systemError('ENODEV', 'the device cannot be mapped', 'mmap', path)
    }
    inode.mint = (mapping, page, count) => dax.mint(mapping, page, count)
    this.#renew(inode, device.bytes)
  }

  /** A mapping, for which idle inodes are forgotten if need be, but never `but`; -1 where too many are in use. */
  #createMapping(domain: number, but?: CachedInode): number {
    let mapping = this.pages.mappings.create(domain)
    while (mapping < 0 && this.#forgetOldest(but)) mapping = this.pages.mappings.create(domain)
    return mapping
  }

  /** Of the inodes that nobody has open, the one that was used longest ago, if it is not `but`; false where there is none. */
  #forgetOldest(but?: CachedInode): boolean {
    for (const inode of this.#inodes.values()) {
      if (inode.uses > 0 || inode === but) continue
      this.#forget(inode)
      return true
    }
    return false
  }

  #forget(inode: CachedInode): void {
    this.#inodes.delete(inode.key)
    this.#idleWithHomes.delete(inode)
    this.#idle--
    this.#homes?.release(inode.homes)
    this.pages.deleteMapping(inode.mapping)
    this.#dax?.remove(inode.mapping)
  }
}

/** Whether a file whose size is 0 has bytes all the same, as those of procfs have. */
function holdsMore(fd: number): boolean {
  try {
    // Somebody may have written to it meanwhile.
    return fs.readSync(fd, Buffer.alloc(1), 0, 1, 0) > 0 && fs.fstatSync(fd).size === 0
  } catch {
    // Whoever reads it hears of that.
    return false
  }
}
