/** Families over a simulated volume on which nothing happens by itself: for tests that say what happens when. */
import { Families, type FamiliesOptions } from '../../../src/homes/families.ts'
import type { Home } from '../../../src/homes/home.ts'
import type { HomeStorage, HomeUsers, SourceFile, Stamp } from '../../../src/homes/home-storage.ts'
import type { Serving } from '../../../src/homes/serving.ts'
import { Random } from '../../../src/sim/random.ts'
import { type Promises, type SimFile, Volume } from '../../../src/sim/volume.ts'
import { ExtentList } from '../../../src/storage/extents.ts'

export const PAGE = 4096

export interface QuietFile extends SourceFile {
  readonly inode: SimFile
}

export function failure(code: string): Error {
  return Object.assign(new Error(`${code} (test)`), { code })
}

/** Calls can be made to fail, and to wait: `hold(name)` stops the next call before it does anything. */
export class QuietStorage implements HomeStorage<QuietFile, SimFile> {
  readonly volume: Volume
  readonly calls: string[] = []
  /** Errors to be thrown by the next calls of that name. */
  readonly failures = new Map<string, Error[]>()
  writers: boolean | undefined = false
  readonly #holds = new Map<string, Promise<void>>()
  #homes = 0

  constructor(volume: Volume) {
    this.volume = volume
  }

  fail(call: string, ...codes: string[]): void {
    this.failures.set(call, codes.map(failure))
  }

  /** The next call of that name waits until the returned function is called. */
  hold(call: string): () => void {
    let release = () => {}
    this.#holds.set(call, new Promise((resolve) => (release = resolve)))
    return release
  }

  async stamp({ inode }: QuietFile): Promise<Stamp> {
    await this.#enter('stamp', inode)
    const { ctimeNs, sizeBytes, nlink } = inode
    return { ctimeSec: Math.floor(ctimeNs / 1e9), ctimeNsec: ctimeNs % 1e9, size: sizeBytes, nlink }
  }

  async extents({ inode }: QuietFile, start: number, length: number, limit: number): Promise<ExtentList> {
    await this.#enter('extents', inode)
    const list = this.#list(inode, start, length)
    if (list.count > limit) throw failure('E2BIG')
    return list
  }

  async homeExtents(home: SimFile, start: number, length: number): Promise<ExtentList> {
    await this.#enter('homeExtents', home)
    return this.#list(home, start, length)
  }

  async createHome({ inode }: QuietFile): Promise<SimFile> {
    await this.#enter('createHome', inode)
    return this.volume.clone(inode, `home ${++this.#homes}`, true)
  }

  async dropHome(home: SimFile): Promise<void> {
    await this.#enter('dropHome', home)
    this.volume.dropHome(home)
  }

  async isOpenForWriting({ inode }: QuietFile): Promise<boolean | undefined> {
    await this.#enter('isOpenForWriting', inode)
    return inode.writers > 0 ? true : this.writers
  }

  async #enter(call: string, inode: SimFile): Promise<void> {
    this.calls.push(`${call} ${inode.name}`)
    const hold = this.#holds.get(call)
    this.#holds.delete(call)
    await hold
    const error = this.failures.get(call)?.shift()
    if (error !== undefined) throw error
    if (inode.isGone && call !== 'dropHome') throw failure('ENOENT')
  }

  #list(file: SimFile, start: number, length: number): ExtentList {
    const list = new ExtentList()
    this.volume.flush(file)
    for (let unit = 0; unit < file.places.length; unit++) {
      this.volume.extentOf(file, unit, start, start + length, list)
    }
    return list
  }
}

/** Users counted by hand. */
export class QuietUsers implements HomeUsers {
  readonly counts = new Map<number, number>()

  isUsed(number: number): boolean {
    return (this.counts.get(number) ?? 0) > 0
  }

  tryRetire(number: number): boolean {
    return !this.isUsed(number)
  }

  use(home: Home<SimFile>): () => void {
    this.counts.set(home.number, (this.counts.get(home.number) ?? 0) + 1)
    return () => this.counts.set(home.number, this.counts.get(home.number)! - 1)
  }
}

const XFS: Promises = {
  name: 'quiet',
  countsReuse: false,
  homesStay: false,
  filesDoNotReturn: false,
  writesInPlace: true,
}

export class Quiet {
  readonly volume = new Volume(new Random(1), XFS, PAGE, 0)
  readonly storage = new QuietStorage(this.volume)
  readonly users = new QuietUsers()
  readonly forgotten: string[] = []
  readonly families: Families<QuietFile, SimFile>
  #value = 1
  readonly #files = new Map<SimFile, QuietFile>()

  /** At least 2 shared pages are worth a home, 8 are large. */
  constructor(options: FamiliesOptions = {}) {
    this.families = new Families(this.storage, this.users, () => this.volume.nowNs / 1e6, {
      minShareBytes: 2 * PAGE,
      largeShareBytes: 8 * PAGE,
      minSharePart: 0,
      ctimeGranularityMs: 0,
      onForget: (key) => this.forgotten.push(key),
      ...options,
    })
  }

  /** A file of pages with contents that no other has. */
  file(name: string, pages: number): SimFile {
    const file = this.volume.create(name, pages)
    for (let page = 0; page < pages; page++) this.volume.writeDirect(file, page, ++this.#value)
    this.later()
    return file
  }

  clone(from: SimFile, name: string): SimFile {
    const file = this.volume.clone(from, name, false)
    this.later()
    return file
  }

  write(file: SimFile, ...pages: number[]): void {
    this.volume.stampCtime(file)
    for (const page of pages) this.volume.writeDirect(file, page, ++this.#value)
    this.later()
  }

  later(ms = 1000): void {
    this.volume.nowNs += ms * 1e6
  }

  source(inode: SimFile, domain: string | number = 0, fileSystem = 'fs'): QuietFile {
    let source = this.#files.get(inode)
    if (source === undefined) {
      source = { key: inode.name, domain, fileSystem, inode }
      this.#files.set(inode, source)
    }
    return source
  }

  serve(inode: SimFile, domain: string | number = 0, fileSystem = 'fs'): Promise<Serving<SimFile>> {
    return this.families.serve(this.source(inode, domain, fileSystem))
  }

  /** `private: small`, `pristine home 0`, or `diverged` with its runs. */
  async how(inode: SimFile): Promise<string> {
    return describeServing(await this.serve(inode))
  }
}

/** Runs as `page+count → home.page`. */
export function describeServing(serving: Serving<SimFile>): string {
  if (serving.kind === 'private') return `private: ${serving.reason}`
  if (serving.kind === 'pristine') return `pristine ${serving.home.file.name}`
  const names = new Map(serving.homes.map((home) => [home.number, home.file.name]))
  const runs = Array.from({ length: serving.map.runCount }, (_, i) => {
    const { filePage, pageCount, home, homePage } = serving.map.run(i)
    return `${filePage}+${pageCount} → ${names.get(home)} ${homePage}`
  })
  return `diverged ${runs.join(', ')}`
}
