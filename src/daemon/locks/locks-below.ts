/**
 * The locks of the mount, held on the source's own files as well: so that programs that use the source directly, or had it open before the
 * mount covered it, exclude those that go through the mount, and the other way round.
 *
 * Each owner gets a descriptor of his own for the ranges that he locks of an inode, and one for its flock. The locks on them are those of open
 * file descriptions, so the kernel keeps owners apart although one process holds them all. There are so many such descriptors and no more: anybody who may read a
 * file can lock it as often as he opens it, and the daemon needs descriptors for others. Locks beyond that are the mount's only.
 */
import { ERRNO } from '../../linux/errors.ts'
import { close, O_NONBLOCK, O_RDONLY, O_RDWR } from '../../linux/file.ts'
import { F_RDLCK, F_UNLCK, F_WRLCK, findRangeLock, setFileLock, setRangeLock } from '../../linux/locks.ts'
import type { LocksBelow, WantedLock } from './lock-table.ts'
import type { HeldLock } from './range-locks.ts'

interface Descriptor {
  readonly fd: number
  readonly writable: boolean
}

/** What the owner holds cannot be kept while he gets more. */
const IN_THE_WAY = 'in the way'

export class LinuxLocksBelow implements LocksBelow {
  /** By inode, owner and kind of lock. */
  readonly #descriptors = new Map<string, Descriptor>()
  readonly #open: (slot: number, flags: number) => number
  readonly #descriptorsMax: number

  /** `open`: a descriptor of the file in a slot, or -errno. `descriptorsMax`: how many may be held. */
  constructor(open: (slot: number, flags: number) => number, descriptorsMax: number) {
    this.#open = open
    this.#descriptorsMax = descriptorsMax
  }

  /** What the file system cannot do (no descriptor to be had, no locks) is no reason to refuse: the mount's own table decides then. */
  set(lock: WantedLock): boolean {
    const isFirst = !this.#descriptors.has(nameOf(lock))
    const descriptor = this.#descriptorFor(lock)
    if (descriptor === undefined) return true
    if (descriptor === IN_THE_WAY) return false
    const { type, start, end } = lock
    const error = lock.isWhole ? setFileLock(descriptor.fd, type) : setRangeLock(descriptor.fd, type, start, end)
    // Nobody would ever close it: who is refused holds nothing that he could give back.
    if (error < 0 && isFirst) this.#close(nameOf(lock))
    return error !== -ERRNO.EAGAIN && error !== -ERRNO.EACCES
  }

  find(lock: WantedLock): HeldLock | undefined {
    const fd = this.#descriptors.get(nameOf(lock))?.fd ?? this.#open(lock.slot, O_RDONLY | O_NONBLOCK)
    if (fd < 0) return undefined
    const found = findRangeLock(fd, lock.type, lock.start, lock.end)
    if (!this.#descriptors.has(nameOf(lock))) close(fd)
    if (found === undefined || typeof found === 'number') return undefined
    return { owner: '', pid: found.pid, exclusive: found.type === F_WRLCK, start: found.start, end: found.end }
  }

  drop(key: string, owner: string): void {
    for (const isWhole of [false, true]) this.#close(nameOf({ key, owner, isWhole }))
  }

  #close(name: string): void {
    const descriptor = this.#descriptors.get(name)
    if (descriptor === undefined) return
    this.#descriptors.delete(name)
    close(descriptor.fd)
  }

  /**
   * A descriptor that can hold `lock`. One for writing looks like a writer to whoever examines the file, so there is one only where
   * the lock needs it: the client has the file open for writing then.
   */
  #descriptorFor(lock: WantedLock): Descriptor | typeof IN_THE_WAY | undefined {
    const name = nameOf(lock)
    const known = this.#descriptors.get(name)
    const writable = lock.type === F_WRLCK && !lock.isWhole
    if (known !== undefined && (known.writable || !writable)) return known
    if (known === undefined && (lock.type === F_UNLCK || this.#descriptors.size >= this.#descriptorsMax))
      return undefined
    const fd = this.#open(lock.slot, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK)
    if (fd < 0) return known
    if (known !== undefined) {
      // The first exclusive lock of an owner who has shared ones. A descriptor for reading can have no others, and shared locks exclude no shared ones: so
      // the new one gets them before the old one gives them up, and nobody who waits for them finds them free.
      const hasAll = lock.held.every(({ start, end }) => setRangeLock(fd, F_RDLCK, start, end) === 0)
      close(hasAll ? known.fd : fd)
      if (!hasAll) return IN_THE_WAY
    }
    const descriptor = { fd, writable }
    this.#descriptors.set(name, descriptor)
    return descriptor
  }
}

const nameOf = ({ key, owner, isWhole }: { key: string; owner: string; isWhole: boolean }): string =>
  `${key} ${owner} ${isWhole}`
