/**
 * The range locks of one inode, as POSIX has them: an owner's new lock replaces what he held of the same bytes, splitting and joining
 * his others; locks of different owners may overlap where both are shared. Pure.
 *
 * Invariants: `#locks` is sorted by start; the locks of one owner do not overlap, and two of the same type do not touch.
 */

export interface HeldLock {
  readonly owner: string
  readonly pid: number
  readonly exclusive: boolean
  /** First and last byte, both included. */
  readonly start: bigint
  readonly end: bigint
}

export class RangeLocks {
  #locks: HeldLock[] = []

  get isEmpty(): boolean {
    return this.#locks.length === 0
  }

  /** All locks, by their start. */
  get all(): readonly HeldLock[] {
    return this.#locks
  }

  isHeldBy(owner: string): boolean {
    return this.#locks.some((lock) => lock.owner === owner)
  }

  /** Locks of others that exclude `wanted`. */
  conflicts(wanted: HeldLock): HeldLock[] {
    return this.#locks.filter(
      (lock) => lock.owner !== wanted.owner && (lock.exclusive || wanted.exclusive) && overlap(lock, wanted),
    )
  }

  /** Gives `lock` to its owner; the caller has seen that nothing excludes it. */
  set(lock: HeldLock): void {
    this.unset(lock.owner, lock.start, lock.end)
    let { start, end } = lock
    this.#locks = this.#locks.filter((other) => {
      const joins = other.owner === lock.owner && other.exclusive === lock.exclusive
      if (!joins || other.end + 1n < start || end + 1n < other.start) return true
      if (other.start < start) start = other.start
      if (other.end > end) end = other.end
      return false
    })
    this.#locks.push({ ...lock, start, end })
    this.#sort()
  }

  /** Takes bytes `start` to `end` from `owner`. */
  unset(owner: string, start: bigint, end: bigint): void {
    const range = { start, end }
    this.#locks = this.#locks.flatMap((lock) => {
      if (lock.owner !== owner || !overlap(lock, range)) return lock
      const left: HeldLock[] = []
      if (lock.start < start) left.push({ ...lock, end: start - 1n })
      if (end < lock.end) left.push({ ...lock, start: end + 1n })
      return left
    })
    this.#sort()
  }

  /** Throws where an invariant does not hold. */
  check(): void {
    this.#locks.forEach((lock, i) => {
      if (lock.start > lock.end) throw new Error(`an empty lock at ${i}: ${this.dump()}`)
      if (i > 0 && this.#locks[i - 1]!.start > lock.start) throw new Error(`not sorted at ${i}: ${this.dump()}`)
      for (const other of this.#locks.slice(i + 1)) {
        if (other.owner !== lock.owner) {
          if ((other.exclusive || lock.exclusive) && overlap(lock, other))
            throw new Error(`locks exclude each other: ${this.dump()}`)
        } else if (overlap(lock, other)) throw new Error(`an owner holds bytes twice: ${this.dump()}`)
        else if (other.exclusive === lock.exclusive && other.start === lock.end + 1n)
          throw new Error(`locks that touch are two: ${this.dump()}`)
      }
    })
  }

  dump(): string {
    return this.#locks.map((l) => `${l.owner}${l.exclusive ? '!' : ''}[${l.start}, ${l.end}]`).join(' ')
  }

  #sort(): void {
    this.#locks.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
  }
}

const overlap = (a: { start: bigint; end: bigint }, b: { start: bigint; end: bigint }): boolean =>
  a.start <= b.end && b.start <= a.end
