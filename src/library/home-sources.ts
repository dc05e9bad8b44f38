/** Homes as sources of pages: each has a mapping, which all files that lie in it read from. */
import type { PageKeeper } from '../cache/page-keeper.ts'
import type { Home } from '../homes/home.ts'
import type { LinuxHome } from '../homes/linux-home-storage.ts'
import type { DirectMemory } from './direct-memory.ts'
import type { Homes } from './homes.ts'
import type { Native } from './native.ts'
import type { PageSource } from './page-source.ts'
import type { WindowHandle } from './windows.ts'

class HomeSource implements PageSource {
  readonly mapping: number
  readonly fd: number
  readonly directFd: number
  refusesDirect = false
  readonly size: number
  /** On its bytes, where they are read as they lie. */
  window: WindowHandle | undefined
  mint?: PageSource['mint']

  constructor(mapping: number, fd: number, directFd: number, size: number) {
    this.mapping = mapping
    this.fd = fd
    this.directFd = directFd
    this.size = size
  }

  /** A home is never written. */
  isAtRest(): boolean {
    return true
  }

  onShrunk(): void {}
}

/** Context: the keeper's thread. */
export class HomeSources {
  readonly homes: Homes
  readonly #keeper: PageKeeper
  readonly #native: Native
  readonly #direct: boolean
  readonly #memory: DirectMemory
  readonly #sources = new Map<number, HomeSource>()
  #isClosed = false

  /** `onForget`: see {@link HomesEvents}. */
  constructor(
    keeper: PageKeeper,
    native: Native,
    direct: boolean,
    memory: DirectMemory,
    minShareBytes: number | undefined,
    onForget: (key: string) => void,
  ) {
    this.#keeper = keeper
    this.#native = native
    this.#direct = direct
    this.#memory = memory
    this.homes = native.createHomes(minShareBytes, { onRetired: (number) => this.#forget(number), onForget })
  }

  get(number: number): PageSource {
    return this.#sources.get(number)!
  }

  /** The window on a home that was acquired; undefined where its pages are loaded. */
  windowOf(number: number): WindowHandle | undefined {
    return this.#sources.get(number)!.window
  }

  /** Takes the home for one more inode: its mapping, which `createMapping` makes in the domain that all of them are of, or -1 where that gives none, or all is being given back. */
  acquire(home: Home<LinuxHome>, createMapping: () => number): number {
    if (this.#isClosed) return -1
    let source = this.#sources.get(home.number)
    if (source === undefined) {
      const mapping = createMapping()
      if (mapping < 0) return -1
      try {
        source = this.#createSource(home, mapping)
      } catch (error) {
        this.#keeper.deleteMapping(mapping)
        throw error
      }
      this.#sources.set(home.number, source)
    }
    this.homes.hold(home.number)
    return source.mapping
  }

  #createSource(home: Home<LinuxHome>, mapping: number): HomeSource {
    const window = this.#memory.addHome(mapping, home.file.fd, home.size)
    const directFd = this.#direct && window === undefined ? this.#native.reopenDirect(home.file.fd) : -1
    const source = new HomeSource(mapping, home.file.fd, directFd, home.size)
    if (window !== undefined) {
      source.window = window
      source.mint = (mapping, page, count) => this.#memory.mint(mapping, page, count)
    }
    this.#keeper.mappings.setSize(mapping, home.size)
    return source
  }

  /** The homes of an inode, which has them already, stay for one more user. */
  hold(numbers: readonly number[]): void {
    for (const number of numbers) this.homes.hold(number)
  }

  release(numbers: readonly number[]): void {
    for (const number of numbers) this.homes.release(number)
  }

  /** Gives everything back. Nobody may be reading from a home. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const number of [...this.#sources.keys()]) this.#forget(number)
    await this.homes.close()
  }

  /** See {@link FileKeeper.abandon}. */
  abandon(): void {
    for (const { directFd } of this.#sources.values()) if (directFd >= 0) this.#native.close(directFd)
    this.homes.abandon()
  }

  #forget(number: number): void {
    const source = this.#sources.get(number)
    if (source === undefined) return
    this.#sources.delete(number)
    this.#keeper.deleteMapping(source.mapping)
    this.#memory.remove(source.mapping)
    if (source.directFd >= 0) this.#native.close(source.directFd)
  }
}
