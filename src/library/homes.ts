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
import { identifyFilesystem } from '../storage/filesystem.ts'

/** A file that is asked about: by name, and what must be found there. */
export interface NamedFile {
  readonly path: string
  readonly dev: bigint
  readonly ino: bigint
  /** It shares with files of the same domain only. */
  readonly domain: SourceFile['domain']
  readonly wantsHome?: SourceFile['wantsHome']
}

interface ReachableFile extends SourceFile, NamedFile {}

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
  readonly #directories = new Map<string, number>()
  readonly #users = new Map<number, number>()
  readonly #families: Families<ReachableFile, LinuxHome>
  readonly #events: HomesEvents
  readonly #timer: NodeJS.Timeout
  #isClosed = false

  /** `minShareBytes`: fewer shared bytes are not worth a home. */
  constructor(minShareBytes: number | undefined, events: HomesEvents) {
    this.#events = events
    this.#families = new Families(new ReopeningStorage(this.#storage, openNamed), this, () => Date.now(), {
      ...(minShareBytes === undefined ? {} : { minShareBytes }),
      onForget: (key) => events.onForget(key),
    })
    this.#timer = setInterval(() => void this.#families.sweep(), SWEEP_MS).unref()
  }

  /** How the file is to be served; its homes are to be {@link hold} before anything else is awaited. Rejects as the system does. */
  async serve(file: NamedFile): Promise<Serving<LinuxHome>> {
    // Nobody would give back what it makes.
    if (this.#isClosed) throw new SystemError(ERRNO.EBADF, 'serve', file.path)
    const key = `${file.dev}:${file.ino}`
    return await this.#families.serve({ ...file, key, fileSystem: this.#placeOf(file) })
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
  dropUnused(): Promise<void> {
    return this.#families.dropUnused()
  }

  statistics(): FamiliesStatistics {
    return this.#families.statistics()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#timer)
    await this.#families.close()
    for (const fd of this.#directories.values()) close(fd)
  }

  /** See {@link FileKeeper.abandon}: homes have no name, so they are gone with their descriptors, and the windows on them. */
  abandon(): void {
    for (const { file } of this.#families.homes()) close(file.fd)
    for (const fd of this.#directories.values()) close(fd)
  }

  /** The identity of the file's file system. Homes are made in the directory of the first file that was opened on it. */
  #placeOf(file: NamedFile): string {
    const directoryFd = open(path.dirname(file.path), O_RDONLY | O_DIRECTORY)
    const filesystem = identifyFilesystem(directoryFd)
    if (this.#directories.has(filesystem.identity)) close(directoryFd)
    else {
      this.#directories.set(filesystem.identity, directoryFd)
      this.#storage.addPlace({ filesystem, directoryFd, readOnlyTreeFd: -1 })
    }
    return filesystem.identity
  }
}

/** A descriptor for reading of what has the file's name. Throws ESTALE where that is something else now. */
function openNamed(file: ReachableFile): number {
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
