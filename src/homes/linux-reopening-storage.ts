/**
 * Opens a file for the length of each call. No descriptor is kept of a file that nobody has open, and none that a call still uses
 * can be closed under it and given to another file.
 */
import { close } from '../linux/file.ts'
import type { HomeStorage, SourceFile } from './home-storage.ts'
import type { LinuxHome, LinuxHomeStorage } from './linux-home-storage.ts'

export class ReopeningStorage<File extends SourceFile> implements HomeStorage<File, LinuxHome> {
  readonly #storage: LinuxHomeStorage
  readonly #open: (file: File) => number

  /** `open` gives a descriptor for reading, or throws: ESTALE where the file is gone, or cannot be reached any more. */
  constructor(storage: LinuxHomeStorage, open: (file: File) => number) {
    this.#storage = storage
    this.#open = open
  }

  stamp = this.#opened((file, fd) => this.#storage.stamp({ ...file, fd }))

  extents = this.#opened((file, fd, start: number, length: number, limit: number) =>
    this.#storage.extents({ ...file, fd }, start, length, limit),
  )

  createHome = this.#opened((file, fd) => this.#storage.createHome({ ...file, fd }))

  isOpenForWriting = this.#opened((file, fd) => this.#storage.isOpenForWriting({ ...file, fd }))

  reuseCounter = this.#opened((file, fd) => this.#storage.reuseCounter({ ...file, fd }))

  homeExtents(...args: Parameters<LinuxHomeStorage['homeExtents']>) {
    return this.#storage.homeExtents(...args)
  }

  dropHome(home: LinuxHome) {
    return this.#storage.dropHome(home)
  }

  #opened<Rest extends unknown[], Result>(call: (file: File, fd: number, ...rest: Rest) => Promise<Result>) {
    return async (file: File, ...rest: Rest): Promise<Result> => {
      const fd = this.#open(file)
      try {
        return await call(file, fd, ...rest)
      } finally {
        close(fd)
      }
    }
  }
}
