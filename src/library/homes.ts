/**
 * Sharing by address, for the library: families over the file systems that files are opened on. The homes are those of the mount (see
 * homes/families.ts); what differs is how a file is reached, and who counts their users.
 */
import fs from 'node:fs'
import path from 'node:path'
import { Families, type FamiliesStatistics } from '../homes/families.ts'
import type { HomeUsers, SourceFile } from '../homes/home-storage.ts'
import { type LinuxHome, LinuxHomeStorage } from '../homes/linux-home-storage.ts'
import { ReopeningStorage } from '../homes/linux-reopening-storage.ts'
import type { Serving } from '../homes/serving.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close, O_DIRECTORY, O_NONBLOCK, O_RDONLY, open } from '../linux/file.ts'
import { type Filesystem, identifyFilesystem } from '../storage/filesystem.ts'

/** A file that is asked about: by name, and what must be found there. */
export interface NamedFile {
  readonly path: string
  readonly dev: bigint
  readonly ino: bigint
  /** It shares with files of the same domain only. */
  readonly domain: SourceFile['domain']
  readonly wantsHome?: SourceFile['wantsHome']
}

interface NamedSource extends SourceFile, NamedFile {}

export interface HomesEvents {
  /** Nobody can use the home of that number any more. */
  onRetired(number: number): void
  /** What was decided for the file of that key, `dev:ino`, should be decided anew when it is opened next. */
  onForget(key: string): void
}

const SWEEP_MS = 10_000

/** Context: the keeper's thread. */
export class Homes implements HomeUsers {
  readonly #storage = new LinuxHomeStorage()
  /** By the identity of the file system. A directory keeps it from being unmounted, so each is open only while it is needed: for calls, or beside homes, which do the same. */
  readonly #places = new Map<string, { readonly directoryFd: number; readonly dev: bigint; calls: number }>()
  readonly #users = new Map<number, number>()
  readonly #families: Families<NamedSource, LinuxHome>
  readonly #events: HomesEvents
  readonly #timer: NodeJS.Timeout
  #isClosed = false

  /** `minShareBytes`: fewer shared bytes are not worth a home. */
  constructor(minShareBytes: number | undefined, events: HomesEvents) {
    this.#events = events
    this.#families = new Families(new ReopeningStorage<NamedSource>(this.#storage, openNamed), this, () => Date.now(), {
      ...(minShareBytes === undefined ? {} : { minShareBytes }),
      onForget: (key) => events.onForget(key),
    })
    this.#timer = setInterval(() => void this.#sweep(), SWEEP_MS).unref()
  }

  /** How the file is to be served; its homes are to be {@link hold} before anything else is awaited. Rejects as the system does. */
  async serve(file: NamedFile): Promise<Serving<LinuxHome>> {
    // Nobody would give back what it makes.
    if (this.#isClosed) throw new SystemError(ERRNO.EBADF, 'serve', file.path)
    const key = `${file.dev}:${file.ino}`
    const fileSystem = this.#placeOf(file)
    const place = this.#places.get(fileSystem)!
    place.calls++
    try {
      return await this.#families.serve({ ...file, key, fileSystem })
    } finally {
      place.calls--
      this.#leavePlaces()
    }
  }

  /** One user more: the home stays until it is {@link release}d. */
  hold(number: number): void {
    this.#users.set(number, (this.#users.get(number) ?? 0) + 1)
  }

  release(number: number): void {
    this.#users.set(number, this.#users.get(number)! - 1)
  }

  isUsed(number: number): boolean {
    return (this.#users.get(number) ?? 0) > 0
  }

  tryRetire(number: number): boolean {
    if (this.isUsed(number)) return false
    this.#users.delete(number)
    this.#events.onRetired(number)
    return true
  }

  /** Drops homes that nobody uses: where space runs out. */
  async dropUnused(): Promise<void> {
    await this.#families.dropUnused()
    this.#leavePlaces()
  }

  statistics(): FamiliesStatistics {
    return this.#families.statistics()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#timer)
    await this.#families.close()
    this.#closePlaces()
  }

  /** See {@link FileKeeper.abandon}: homes have no name, so they are gone with their descriptors, and the windows on them. */
  abandon(): void {
    for (const { file } of this.#families.homes()) close(file.fd)
    this.#closePlaces()
  }

  /** Nobody waits for it, and nobody's program is to end because homes stay longer than they need to. */
  async #sweep(): Promise<void> {
    try {
      await this.#families.sweep()
      this.#leavePlaces()
    } catch (error) {
      process.emitWarning(`sweeping homes failed: ${String(error)}`, 'SamepageWarning')
    }
  }

  /**
   * The identity of the file's file system. Homes are made in the directory of the first file that is asked about while there are none. Throws EOPNOTSUPP where no directory of the file system is known.
   *
   * To identify one takes a dozen system calls and the list of mounts. As long as something of a file system is open its device number is no other's, so a directory with the file's tells it, and is identified
   * once. Without such a one the file itself tells: its directory is on another file system, for its name is a symlink or something is mounted over it; or in another subvolume of btrfs.
   */
  #placeOf(file: NamedFile): string {
    for (const [identity, { dev }] of this.#places) if (dev === file.dev) return identity
    const beside = openDirectory(path.dirname(file.path))
    if (beside?.dev === file.dev) return this.#addPlace(beside)
    let there: Directory | undefined
    try {
      const identity = identityOf(file)
      if (this.#places.has(identity)) return identity
      if (identity === beside?.filesystem.identity) there = beside
      else there = openDirectory(realDirectory(file.path), identity)
      if (there === undefined) throw new SystemError(ERRNO.EOPNOTSUPP, 'open', file.path)
      return this.#addPlace(there)
    } finally {
      if (beside !== undefined && there !== beside) close(beside.directoryFd)
    }
  }

  /** Unless one of its file system is there: then it is closed. */
  #addPlace({ filesystem, directoryFd, dev }: Directory): string {
    const { identity } = filesystem
    if (this.#places.has(identity)) close(directoryFd)
    else {
      this.#places.set(identity, { directoryFd, dev, calls: 0 })
      this.#storage.addPlace({ filesystem, directoryFd, readOnlyTreeFd: -1 })
    }
    return identity
  }

  /** Closes directories of file systems on which there are no homes, and nobody is asking for any. */
  #leavePlaces(): void {
    for (const [identity, { directoryFd, calls }] of this.#places) {
      if (calls > 0 || this.#families.hasHomesOn(identity)) continue
      this.#places.delete(identity)
      this.#storage.removePlace(identity)
      close(directoryFd)
    }
  }

  #closePlaces(): void {
    for (const { directoryFd } of this.#places.values()) close(directoryFd)
    this.#places.clear()
  }
}

interface Directory {
  readonly filesystem: Filesystem
  readonly directoryFd: number
  readonly dev: bigint
}

/** Undefined where it cannot be opened, or where it is not on the file system of `identity`, if that is given. */
function openDirectory(directory: string, identity?: string): Directory | undefined {
  let directoryFd = -1
  try {
    directoryFd = open(directory, O_RDONLY | O_DIRECTORY)
    const { dev } = fs.fstatSync(directoryFd, { bigint: true })
    const filesystem = identifyFilesystem(directoryFd)
    if (identity === undefined || filesystem.identity === identity) return { filesystem, directoryFd, dev }
  } catch {
    // Nobody may list it, or it has gone.
  }
  if (directoryFd >= 0) close(directoryFd)
  return undefined
}

/** As its own descriptor tells it. */
function identityOf(file: NamedFile): string {
  const fd = openNamed(file)
  try {
    return identifyFilesystem(fd).identity
  } finally {
    close(fd)
  }
}

/** The directory of what `name` leads to. Throws where it leads nowhere now. */
function realDirectory(name: string): string {
  return path.dirname(fs.realpathSync(name))
}

/** A descriptor for reading of what has the file's name. Throws ESTALE where that is something else now. */
function openNamed(file: NamedFile): number {
  const fd = open(file.path, O_RDONLY | O_NONBLOCK)
  try {
    const { dev, ino } = fs.fstatSync(fd, { bigint: true })
    if (dev === file.dev && ino === file.ino) return fd
    throw new SystemError(ERRNO.ESTALE, 'open', file.path)
  } catch (error) {
    close(fd)
    throw error
  }
}
