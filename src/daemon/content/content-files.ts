/**
 * Content files: mappings of files in the arena, one for each file in one state (ctime and size), and how long they are used.
 *
 * A page in a content file is what the file held in that state, and nothing else, because
 * ```
 *   begin    the ctime is older than its granule, and then nobody has the file open for writing ({@link canBeHeld}): who changes it from now on moves its ctime first
 *   load     read the page, then stat: still that state? publish it : give it up
 *   open     the state is that of the content file? use it : the file gets a new one
 * ```
 * The mapping outlives the last close, and is used again by an open that finds the file in that state. Where there are too many, those go that nobody uses, first those that were taken
 * longest ago.
 *
 * Pure. Context: the keeper's thread.
 */
import type { PageKeeper } from '../../cache/page-keeper.ts'
import { isSameStamp } from '../../homes/home-storage.ts'
import { isCtimeOver } from '../../util/ctime.ts'

/** Which file, and how it is: equal states, equal bytes. */
export interface FileState {
  readonly ino: number
  readonly devMajor: number
  readonly devMinor: number
  readonly ctimeSec: number
  readonly ctimeNsec: number
  readonly size: number
}

/** Which mapping a file's pages are in, and what {@link Lookup.layoutOf} says as long as it is this file's. */
export interface ContentRef {
  readonly mapping: number
  readonly version: number
}

export interface ContentFile extends ContentRef {
  readonly key: string
  readonly state: FileState
}

interface Known extends ContentFile {
  users: number
}

/**
 * Whether what changes the file from now on gives it another state than `state`, which was seen at `nowMs` (of the clock that stamps files). `isOpenForWriting`: was it so at an
 * instant after that; undefined: cannot be told.
 */
export function canBeHeld(state: FileState, nowMs: number, isOpenForWriting: () => boolean | undefined): boolean {
  return (
    isCtimeOver(state.ctimeSec * 1000 + state.ctimeNsec / 1e6, state.ctimeNsec, nowMs) && isOpenForWriting() === false
  )
}

export class ContentFiles {
  readonly #pages: PageKeeper
  /** The latest of each file, in the order in which they were taken. */
  readonly #files = new Map<string, Known>()
  /** Domains of the mount, by the number that the pages' keeper has for them. */
  readonly #domains = new Map<string | number, number>()

  constructor(pages: PageKeeper) {
    this.#pages = pages
  }

  get count(): number {
    return this.#files.size
  }

  /**
   * The content file of the file `key` in `state`; to be {@link release}d. Undefined where all mappings are in use. A file of another domain, or of another state, is another one; the
   * one that had the key before goes when nobody uses it any more. `makeRoom` is called where all are in use, and says whether it has had some released.
   */
  take(
    key: string,
    domain: string | number,
    { ino, devMajor, devMinor, ctimeSec, ctimeNsec, size }: FileState,
    makeRoom: () => boolean = () => false,
  ): ContentFile | undefined {
    const state = { ino, devMajor, devMinor, ctimeSec, ctimeNsec, size }
    let file = this.#files.get(key)
    if (file !== undefined && !isSameState(file.state, state)) {
      this.#files.delete(key)
      if (file.users === 0) this.#pages.deleteMapping(file.mapping)
      file = undefined
    }
    file ??= this.#create(key, domain, state, makeRoom)
    if (file === undefined) return undefined
    file.users++
    this.#files.delete(key)
    this.#files.set(key, file)
    return file
  }

  /** One user more; false where the last one is gone, and the mapping may be another file's by now. */
  hold(content: ContentFile): boolean {
    const file = content as Known
    if (file.users === 0 && this.#files.get(file.key) !== file) return false
    file.users++
    return true
  }

  release(content: ContentFile): void {
    const file = content as Known
    if (--file.users === 0 && this.#files.get(file.key) !== file) this.#pages.deleteMapping(file.mapping)
  }

  #create(key: string, domain: string | number, state: FileState, makeRoom: () => boolean): Known | undefined {
    const number = this.#domains.get(domain) ?? this.#domains.size
    this.#domains.set(domain, number)
    let mapping = this.#pages.mappings.create(number)
    while (mapping < 0 && (this.#forgetOldest() || makeRoom())) mapping = this.#pages.mappings.create(number)
    if (mapping < 0) return undefined
    return { key, state, mapping, version: this.#pages.mappings.changeLayout(mapping), users: 0 }
  }

  /** False where there is none that nobody uses. */
  #forgetOldest(): boolean {
    for (const file of this.#files.values()) {
      if (file.users > 0) continue
      this.#files.delete(file.key)
      this.#pages.deleteMapping(file.mapping)
      return true
    }
    return false
  }
}

export function isSameState(a: FileState, b: FileState): boolean {
  return a.ino === b.ino && a.devMajor === b.devMajor && a.devMinor === b.devMinor && isSameStamp(a, b)
}
