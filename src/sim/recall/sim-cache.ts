/**
 * An attached cache: which files it attends, what it gives up, and who is let in is the library's own code (library/attached, library/grants/passages.ts). Its pages are simple: one may be there, or being loaded; of those
 * that are kept out none is. (The simulation of the page cache has the real ones.)
 */
import { GrantTable } from '../../cache/grants/grant-table.ts'
import { Attendance } from '../../library/attached/attendance.ts'
import { Leases } from '../../library/attached/leases.ts'
import type { CachedInode } from '../../library/cached-inode.ts'
import { Passages } from '../../library/grants/passages.ts'
import type { SimFile } from './sim-file.ts'
import { SimProcess } from './sim-process.ts'
import type { Halves } from './truth.ts'
import type { World } from './world.ts'

/** Nobody is to wait for ever; so nobody gives up. */
const WAIT_MS = 2 ** 40

interface Loading {
  /** Nothing has been dropped since. */
  isWanted: boolean
  readonly end: Promise<void>
}

class Inode {
  readonly file: SimFile
  uses = 0
  /** What it was when it was opened last. */
  ctime = -1
  readonly cached: (Halves | undefined)[] = []
  readonly loading = new Map<number, Loading>()
  readonly keptOut = new Set<{ readonly from: number; readonly to: number }>()

  constructor(file: SimFile) {
    this.file = file
  }

  /** As passages know it. */
  get asCached(): CachedInode {
    const { key, path } = this.file
    return { key, path, size: this.file.size() } as unknown as CachedInode
  }

  drop(from: number, to: number): void {
    for (let page = from; page < Math.min(to, this.file.pages.length); page++) this.cached[page] = undefined
    for (const [page, loading] of this.loading) if (from <= page && page < to) loading.isWanted = false
  }

  /** As FileKeeper.keepOut. */
  keepOut(from: number, to: number): () => void {
    const range = { from, to }
    this.keptOut.add(range)
    this.drop(from, to)
    return () => {
      this.keptOut.delete(range)
      this.drop(from, to)
    }
  }

  mayLoad(page: number): boolean {
    return ![...this.keptOut].some(({ from, to }) => from <= page && page < to)
  }
}

export class SimCache extends SimProcess {
  readonly #inodes = new Map<string, Inode>()
  readonly #leases: Leases
  readonly #attendance: Attendance
  readonly #passages: Passages

  constructor(world: World, pid: number) {
    super(world, pid, {
      onRecall: (message) => {
        world.counts.recalls++
        this.#attendance.recall(message)
      },
      onRestore: (id) => this.#leases.restore(id),
      onEnded: () => this.#attendance.lost(),
    })
    const table = new GrantTable(world.timers)
    this.#leases = new Leases(table, {
      keepOut: (key, from, to) => this.#inodes.get(key)?.keepOut(from, to) ?? (() => {}),
    })
    this.#attendance = new Attendance(this.client, this.#leases)
    this.#passages = new Passages(this.#leases, WAIT_MS, true)
  }

  /** Opens a file, does something with it, and closes it; until the mount is gone. */
  async use(file: SimFile, what: () => Promise<void>): Promise<void> {
    const { key } = file
    const isGone = () => !this.client.isOpen
    try {
      await this.client.ready()
      await this.#attendance.enter(key, { fd: file.slot, path: file.path })
    } catch (error) {
      if (isGone()) return
      throw error
    }
    try {
      await this.pause()
      if (this.client.isOpen && !this.world.mount.serves(file)) throw new Error(`${key} is cached past the daemon`)
      const inode = this.#inodes.get(key) ?? new Inode(file)
      this.#inodes.set(key, inode)
      inode.uses++
      if (inode.ctime !== file.ctime) inode.drop(0, Number.POSITIVE_INFINITY)
      inode.ctime = file.ctime
      try {
        await what()
      } catch (error) {
        // What is wrong with bytes has no code.
        if (!isGone() || (error as { code?: string }).code === undefined) throw error
      } finally {
        inode.uses--
      }
    } finally {
      this.#attendance.leave(key)
    }
  }

  /** A page, from memory where it is there; without `wait` perhaps not. */
  async read(file: SimFile, page: number, wait: boolean): Promise<void> {
    await this.#read(file, page, wait).catch((error: unknown) => refused(error, wait))
  }

  async write(file: SimFile, page: number, wait: boolean): Promise<void> {
    await this.#write(file, page, wait).catch((error: unknown) => refused(error, wait))
  }

  async #read(file: SimFile, page: number, wait: boolean): Promise<void> {
    const inode = this.#inodes.get(file.key)!
    const { truth, counts } = this.world
    const least = truth.begin(file.key)
    const isGone = !this.client.isOpen
    let found = this.#hit(inode, page)
    if (found === undefined) {
      counts.misses++
      found = await this.#passages.again(wait, () => this.#load(inode, page, wait))
      found ??= this.#hit(inode, page) ?? (await this.#passages.again(wait, () => this.#readPast(inode, page, wait)))
    }
    if (this.isDead) return
    if (isGone) throw new Error('a cache that nobody tells of grants any more shows something')
    truth.checkPage(file.key, page, found, least)
  }

  async #write(file: SimFile, page: number, wait: boolean): Promise<void> {
    const inode = this.#inodes.get(file.key)!
    const value = this.world.truth.freshValue()
    await this.#passages.again(wait, async () => {
      const leave = await this.#passages.change(inode.asCached, page * 4096, page * 4096 + 4096, wait)
      const letIn = inode.keepOut(page, page + 1)
      try {
        await this.ask({ file, from: page, to: page + 1, value, isImpatient: true })
      } finally {
        letIn()
        leave()
      }
    })
  }

  #hit(inode: Inode, page: number): Halves | undefined {
    const cached = inode.cached[page]
    if (cached === undefined) return undefined
    this.world.counts.hits++
    inode.file.checkRead(page, undefined)
    return cached
  }

  /** As FileKeeper.load: the bytes, where it had to wait. */
  async #load(inode: Inode, page: number, wait: boolean): Promise<Halves | undefined> {
    const { hasWaited, leave } = await this.#passages.load(inode.asCached, page, 1, 1, wait)
    try {
      const loading = inode.loading.get(page)
      if (loading !== undefined) await loading.end
      else if (inode.cached[page] === undefined && inode.mayLoad(page)) await this.#fill(inode, page)
      return hasWaited ? await this.#ask(inode, page) : undefined
    } finally {
      leave()
    }
  }

  async #fill(inode: Inode, page: number): Promise<void> {
    let ended!: () => void
    const loading: Loading = { isWanted: true, end: new Promise((resolve) => (ended = resolve)) }
    inode.loading.set(page, loading)
    try {
      const bytes = await this.#ask(inode, page)
      if (loading.isWanted) inode.cached[page] = bytes
    } finally {
      inode.loading.delete(page)
      ended()
    }
  }

  async #readPast(inode: Inode, page: number, wait: boolean): Promise<Halves> {
    const { leave } = await this.#passages.load(inode.asCached, page, 1, 1, wait)
    try {
      return await this.#ask(inode, page)
    } finally {
      leave()
    }
  }

  async #ask({ file }: Inode, page: number): Promise<Halves> {
    const [bytes] = await this.ask({ file, from: page, to: page + 1, isImpatient: true })
    return bytes!
  }
}

/** Only who does not wait is refused. */
function refused(error: unknown, wait: boolean): void {
  if (wait || (error as { code?: string }).code !== 'EAGAIN') throw error
}
