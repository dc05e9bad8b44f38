/**
 * The bytes of a grant: a copy in memory that the holder changes as he likes, and their way back into the file, of which all are written or none.
 *
 * Where a write fails part way, for want of space for example, what the file held is put back. That takes no new space: it goes to the very
 * blocks that were just written. When the machine stops while the bytes are written, the file may have some pages new and others old, as after any write(2) that was under way.
 *
 * Context: the grants' thread; the calls block as the file system does.
 */
import { fdatasync, pwrite } from '../../linux/change.ts'
import { ERRNO, errnoName } from '../../linux/errors.ts'
import { close, pread } from '../../linux/file.ts'
import { createFixedMemory, createMemory } from '../../linux/memory.ts'

const CHUNK_BYTES = 1 << 20
const chunk = new Uint8Array(new ArrayBuffer(CHUNK_BYTES))

export class UndoableCopy {
  readonly start: number
  readonly length: number
  /** A descriptor of memory with the bytes, whose size nobody can change. */
  readonly memory: number

  private constructor(start: number, length: number, memory: number) {
    this.start = start
    this.length = length
    this.memory = memory
  }

  /** Copies bytes [start, start + length) of the file that `fd` is open on. Throws a SystemError, or returns -errno. */
  static copy(fd: number, start: number, length: number): UndoableCopy | number {
    const memory = createFixedMemory('samepage-grant', length)
    const error = copy(fd, start, memory, 0, length)
    if (error === 0) return new UndoableCopy(start, length, memory)
    close(memory)
    return error
  }

  /** Writes the bytes to the file that `fd` is open on for reading and writing: 0 or -errno, and then the file is as it was. `sync`: they are on the disk then. */
  publish(fd: number, sync: boolean): number {
    const { start, length, memory } = this
    const old = createMemory('samepage-undo', length)
    try {
      const error = copy(fd, start, old, 0, length)
      if (error < 0) return error
      let done = 0
      const written = copy(memory, 0, fd, start, length, (bytes) => {
        done += bytes
      })
      const failure = written === 0 && sync ? fdatasync(fd) : written
      if (failure === 0) return 0
      // No more than was written: the rest would take new space, where a clone shares it.
      const undone = copy(old, 0, fd, start, done)
      if (undone < 0)
        throw new Error(
          `${errnoName(-failure)} after ${done} bytes at ${start}, and what was there before could not be put back: ${errnoName(-undone)}`,
        )
      return failure
    } finally {
      close(old)
    }
  }

  close(): void {
    close(this.memory)
  }
}

/** Copies from one descriptor to another: 0 or -errno. -ENXIO where there is nothing to be read any more. `wrote` hears of each write. */
function copy(
  from: number,
  fromAt: number,
  to: number,
  toAt: number,
  length: number,
  wrote: (bytes: number) => void = () => {},
): number {
  for (let done = 0; done < length; ) {
    const read = pread(from, chunk, Math.min(CHUNK_BYTES, length - done), fromAt + done)
    if (read === -ERRNO.EINTR) continue
    if (read <= 0) return read === 0 ? -ERRNO.ENXIO : read
    for (let at = 0; at < read; ) {
      const written = pwrite(to, at === 0 ? chunk : chunk.subarray(at), read - at, toAt + done + at)
      if (written === -ERRNO.EINTR) continue
      if (written <= 0) return written === 0 ? -ERRNO.EIO : written
      wrote(written)
      at += written
    }
    done += read
  }
  return 0
}
