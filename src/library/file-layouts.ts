/** How files are served: by themselves alone, or by homes, as is decided when they are opened. Context: the keeper's thread. */
import type { PageKeeper } from '../cache/page-keeper.ts'
import { RunMap } from '../cache/run-map.ts'
import type { LinuxHome } from '../homes/linux-home-storage.ts'
import type { Serving } from '../homes/serving.ts'
import { type CachedInode, type FileIdentity, type FileStamp, isSameFileStamp } from './cached-inode.ts'
import type { DirectMemory } from './direct-memory.ts'
import type { HomeSources } from './home-sources.ts'
import type { WindowHandle } from './windows.ts'

/** What is asked of those who know the inodes. */
interface LayoutsOwner {
  /** Whether the inode has not been forgotten. */
  isKnown(inode: CachedInode): boolean
  /** A mapping for a home of the inode, which is not forgotten for it; -1 where there are too many. */
  createMapping(inode: CachedInode): number
}

export class FileLayouts {
  readonly #pages: PageKeeper
  readonly #homes: HomeSources | undefined
  readonly #dax: DirectMemory | undefined
  readonly #owner: LayoutsOwner

  /** `homes`: undefined where nothing is shared by address; `dax`: where nothing is read where it lies. */
  constructor(pages: PageKeeper, homes: HomeSources | undefined, dax: DirectMemory | undefined, owner: LayoutsOwner) {
    this.#pages = pages
    this.#homes = homes
    this.#dax = dax
    this.#owner = owner
  }

  serveAlone(inode: CachedInode): void {
    this.#homes?.release(inode.homes)
    inode.homes = []
    inode.serveAlone(this.#pages.mappings.changeLayout(inode.mapping))
  }

  /** Finds out how the file at `path`, which had `stamp` when it was opened, shares storage, and serves it so; as it was served before where that cannot be told. Never rejects: nobody waits for it after an openSync. */
  async decide(inode: CachedInode, path: string, stamp: FileStamp & FileIdentity): Promise<void> {
    const { dev, ino } = stamp
    let serving: Serving<LinuxHome> | undefined
    try {
      serving = await this.#homes?.homes.serve({
        path,
        dev,
        ino,
        domain: inode.domain,
        wantsHome: inode.isDax ? this.#dax!.homesFor : undefined,
      })
    } catch {
      // Without sharing it can be read all the same.
    }
    // It may have been closed and forgotten meanwhile.
    if (serving === undefined || !this.#owner.isKnown(inode)) return
    inode.recheckAtMs = serving.remember ? serving.recheckAtMs : 0
    // Since it was asked the file may have been changed, or opened anew.
    if (serving.kind === 'private' || inode.map !== undefined || !isSameFileStamp(inode.stamp, stamp)) return
    const { ctimeSec, ctimeNsec, size } = serving.stamp
    if (!isSameFileStamp(stamp, { ctimeNs: BigInt(ctimeSec) * 1_000_000_000n + BigInt(ctimeNsec), size })) return
    try {
      this.#serveByHomes(inode, serving)
    } catch {
      // Memory for what it takes is not to be had.
      this.serveAlone(inode)
    }
  }

  #serveByHomes(inode: CachedInode, serving: Exclude<Serving<LinuxHome>, { kind: 'private' }>): void {
    const homes = serving.kind === 'pristine' ? [serving.home] : serving.homes
    const windows: (WindowHandle | undefined)[] = []
    const mappings = new Int32Array(Math.max(...homes.map(({ number }) => number)) + 1).fill(-1)
    for (const home of homes) {
      const mapping = this.#homes!.acquire(home, () => this.#owner.createMapping(inode))
      if (mapping < 0) {
        this.serveAlone(inode)
        return
      }
      inode.homes = [...inode.homes, home.number]
      mappings[home.number] = mapping
      windows[home.number] = this.#homes!.windowOf(home.number)
    }
    const map = serving.kind === 'pristine' ? RunMap.whole(serving.home.number, serving.stamp.size) : serving.map
    inode.serveByHomes(map, mappings, windows, this.#pages.mappings.changeLayout(inode.mapping))
  }
}
