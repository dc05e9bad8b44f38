/**
 * The locks of one mount: fcntl(2) ranges and flock(2), by inode.
 *
 * FUSE would let the kernel keep them, by nodeid. But a file that is opened for writing while others read it from a home gets a second
 * nodeid, and a lock on one would not exclude a lock on the other. So the daemon keeps them, by inode, and holds them on the source's
 * files too (locks-below.ts).
 *
 * ```
 * GETLK, SETLK, SETLKW   answered at once, or made to wait: until the lock is free, a signal comes, or, where the client would not
 *                        wait, until it is sure that the lock is taken
 * FLUSH   a descriptor is closed: the process loses its range locks on the inode, as POSIX wants it
 * RELEASE an open file is no more: so are the locks that belonged to it (flock, locks of open file descriptions)
 * ```
 * RELEASE comes after close(2) has returned. Who asks then for a lock that was just given back must not be told that it is taken: a client
 * that would not wait is let wait for {@link PATIENCE_MS} all the same.
 *
 * Context: the keeper's thread. What it needs of the world comes in as parameters.
 */
import { ERRNO } from '../../linux/errors.ts'
import { F_UNLCK, F_WRLCK, OFFSET_MAX } from '../../linux/locks.ts'
import { type HeldLock, RangeLocks } from './range-locks.ts'

export interface LockRequest {
  /** Of the inode, whatever nodeids it has. */
  readonly key: string
  readonly inoLow: number
  readonly slot: number
  /** Number of the open file that it came through. */
  readonly open: number
  readonly owner: string
  readonly pid: number
  /** F_RDLCK, F_WRLCK or F_UNLCK. */
  readonly type: number
  readonly start: bigint
  readonly end: bigint
  /** flock(2): the whole file, in a space of its own. */
  readonly isWhole: boolean
  readonly waits: boolean
}

/** A lock as {@link LocksBelow} is asked for it, with the ranges that its owner has already. */
export interface WantedLock extends LockRequest {
  readonly held: readonly HeldLock[]
}

/** Who else, outside of this mount, locks the same files. */
export interface LocksBelow {
  /** False where somebody outside is in the way. */
  set(lock: WantedLock): boolean
  find(lock: WantedLock): HeldLock | undefined
  /** The owner holds nothing any more. */
  drop(key: string, owner: string): void
}

interface LockTableParts {
  readonly below: LocksBelow
  /** The inode has got its first lock, or lost its last. */
  readonly counted: (inoLow: number, inodes: 1 | -1) => void
  readonly now: () => number
  /** Calls {@link LockTable.retry} after so many milliseconds. */
  readonly retryAfter: (ms: number) => void
}

/** For so long a lock counts as perhaps given back. */
const PATIENCE_MS = 5
const IMPATIENT_RETRY_MS = 1
/** How often those are asked for again that somebody outside holds: nobody tells us when he gives them back. */
const RETRY_MS = 25

interface Waiter {
  readonly request: LockRequest
  readonly until: number
  readonly answer: (result: number) => void
}

interface FileLocks {
  readonly key: string
  readonly inoLow: number
  readonly ranges: RangeLocks
  /** flock(2): whether exclusive, by owner. */
  readonly whole: Map<string, boolean>
  /** Owners whose locks came through an open file. */
  readonly opens: Map<number, Set<string>>
  /** In the order in which they came. */
  waiters: Waiter[]
}

export class LockTable {
  readonly #parts: LockTableParts
  readonly #files = new Map<string, FileLocks>()
  #isRetrying = false

  constructor(parts: LockTableParts) {
    this.#parts = parts
  }

  /** Inodes with locks, or with somebody who waits for one. */
  get size(): number {
    return this.#files.size
  }

  /** The lock that is in the way of `request`, as GETLK wants to know; undefined: none. */
  find(request: LockRequest): HeldLock | undefined {
    const file = this.#files.get(request.key)
    return file?.ranges.conflicts(heldOf(request))[0] ?? this.#parts.below.find(this.#wanted(file, request))
  }

  /**
   * Sets or removes a lock; `answer` is called with 0 or -errno, now or later. Returns how to take the request back: answers -EINTR if it still
   * waits.
   */
  set(request: LockRequest, answer: (result: number) => void): () => void {
    const file = this.#fileOf(request)
    const result = this.#try(file, request)
    if (result !== -ERRNO.EAGAIN || (request.waits && this.#isDeadlock(request))) {
      answer(result === -ERRNO.EAGAIN ? -ERRNO.EDEADLK : result)
      // What was given back, whole or in part, may be what others wait for.
      this.#wake(file)
      this.#dropIfUnused(file)
      return () => {}
    }
    const until = request.waits ? Number.POSITIVE_INFINITY : this.#parts.now() + PATIENCE_MS
    const waiter = { request, until, answer }
    file.waiters.push(waiter)
    this.#scheduleRetry()
    return () => {
      if (!file.waiters.includes(waiter)) return
      this.#leave(file, waiter, -ERRNO.EINTR)
      this.#dropIfUnused(file)
    }
  }

  /** A process closed a descriptor of the inode: its range locks there are gone. */
  flushed(key: string, owner: string): void {
    const file = this.#files.get(key)
    if (file === undefined) return
    if (!file.whole.has(owner)) for (const owners of file.opens.values()) owners.delete(owner)
    this.#unlockRanges(file, owner)
    this.#wake(file)
    this.#dropIfUnused(file)
  }

  /** An open file is gone: whoever locked through it has lost that. */
  released(key: string, open: number): void {
    const file = this.#files.get(key)
    const owners = file?.opens.get(open)
    if (file === undefined || owners === undefined) return
    file.opens.delete(open)
    for (const owner of owners) {
      file.whole.delete(owner)
      this.#unlockRanges(file, owner)
      this.#parts.below.drop(key, owner)
    }
    this.#wake(file)
    this.#dropIfUnused(file)
  }

  /** Tries again for all who wait; those who would not have waited, and have for long enough, are told no. */
  retry(): void {
    this.#isRetrying = false
    for (const file of [...this.#files.values()]) {
      this.#wake(file)
      const now = this.#parts.now()
      for (const waiter of [...file.waiters]) if (now >= waiter.until) this.#leave(file, waiter, -ERRNO.EAGAIN)
      this.#dropIfUnused(file)
    }
    this.#scheduleRetry()
  }

  /** Throws where an invariant does not hold. */
  check(): void {
    for (const file of this.#files.values()) {
      file.ranges.check()
      const whole = [...file.whole.values()]
      if (whole.length > 1 && whole.includes(true)) throw new Error(`${file.key}: flocks exclude each other`)
      if (isUnused(file)) throw new Error(`${file.key}: nobody uses it`)
    }
  }

  /** 0, or -EAGAIN where somebody is in the way. */
  #try(file: FileLocks, request: LockRequest): number {
    const { below } = this.#parts
    const { owner, type, isWhole } = request
    if (isWhole) {
      const exclusive = type === F_WRLCK
      // As flock(2) does it: who has such a lock keeps it, and one of the other kind is given back before the new one is asked for.
      if (type !== F_UNLCK && file.whole.get(owner) === exclusive) return 0
      if (file.whole.delete(owner) && type !== F_UNLCK) below.set(this.#wanted(file, { ...request, type: F_UNLCK }))
      if (type !== F_UNLCK && [...file.whole.values()].some((other) => other || exclusive)) return -ERRNO.EAGAIN
      if (!below.set(this.#wanted(file, request))) return -ERRNO.EAGAIN
      if (type !== F_UNLCK) file.whole.set(owner, exclusive)
    } else if (type === F_UNLCK) {
      below.set(this.#wanted(file, request))
      file.ranges.unset(owner, request.start, request.end)
    } else {
      if (file.ranges.conflicts(heldOf(request)).length > 0) return -ERRNO.EAGAIN
      if (!below.set(this.#wanted(file, request))) return -ERRNO.EAGAIN
      file.ranges.set(heldOf(request))
    }
    if (type === F_UNLCK) this.#dropOwnerIfUnused(file, owner)
    else rememberOpen(file, request)
    return 0
  }

  #unlockRanges(file: FileLocks, owner: string): void {
    if (!file.ranges.isHeldBy(owner)) return
    const everything = { ...NOTHING, key: file.key, owner, end: OFFSET_MAX }
    this.#parts.below.set(this.#wanted(file, everything))
    file.ranges.unset(owner, 0n, OFFSET_MAX)
    this.#dropOwnerIfUnused(file, owner)
  }

  #dropOwnerIfUnused(file: FileLocks, owner: string): void {
    if (!file.whole.has(owner) && !file.ranges.isHeldBy(owner)) this.#parts.below.drop(file.key, owner)
  }

  /** Gives waiters what has become free, first come, first served. */
  #wake(file: FileLocks): void {
    for (const waiter of [...file.waiters]) {
      const result = this.#try(file, waiter.request)
      if (result !== -ERRNO.EAGAIN) this.#leave(file, waiter, result)
    }
  }

  #leave(file: FileLocks, waiter: Waiter, result: number): void {
    file.waiters = file.waiters.filter((other) => other !== waiter)
    waiter.answer(result)
  }

  #scheduleRetry(): void {
    if (this.#isRetrying) return
    const waiters = [...this.#files.values()].flatMap((file) => file.waiters)
    if (waiters.length === 0) return
    this.#isRetrying = true
    const isImpatient = waiters.some(({ until }) => until !== Number.POSITIVE_INFINITY)
    this.#parts.retryAfter(isImpatient ? IMPATIENT_RETRY_MS : RETRY_MS)
  }

  /**
   * Whether those who hold what `request` wants wait, in the end, for its owner. Between processes the kernel looks for that too; it does not where
   * locks belong to open files, which cannot be told apart here: who waits for himself in such a circle gets EDEADLK.
   */
  #isDeadlock(request: LockRequest): boolean {
    if (request.isWhole) return false
    const waiting = [...this.#files.values()].flatMap((file) =>
      file.waiters.filter((waiter) => waiter.until === Number.POSITIVE_INFINITY && !waiter.request.isWhole),
    )
    const seen = new Set<string>()
    const open = [request]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const { owner } of this.#files.get(next.key)?.ranges.conflicts(heldOf(next)) ?? []) {
        if (owner === request.owner) return true
        if (seen.has(owner)) continue
        seen.add(owner)
        open.push(...waiting.filter((waiter) => waiter.request.owner === owner).map((waiter) => waiter.request))
      }
    }
    return false
  }

  #fileOf({ key, inoLow }: LockRequest): FileLocks {
    const known = this.#files.get(key)
    if (known !== undefined) return known
    const file = { key, inoLow, ranges: new RangeLocks(), whole: new Map(), opens: new Map(), waiters: [] }
    this.#files.set(key, file)
    this.#parts.counted(inoLow, 1)
    return file
  }

  #dropIfUnused(file: FileLocks): void {
    if (!isUnused(file) || !this.#files.delete(file.key)) return
    this.#parts.counted(file.inoLow, -1)
  }

  #wanted(file: FileLocks | undefined, request: LockRequest): WantedLock {
    return { ...request, held: file?.ranges.all.filter((lock) => lock.owner === request.owner) ?? [] }
  }
}

const NOTHING: LockRequest = {
  key: '',
  inoLow: 0,
  slot: -1,
  open: 0,
  owner: '',
  pid: 0,
  type: F_UNLCK,
  start: 0n,
  end: 0n,
  isWhole: false,
  waits: false,
}

function heldOf({ owner, pid, type, start, end }: LockRequest): HeldLock {
  return { owner, pid, exclusive: type === F_WRLCK, start, end }
}

function rememberOpen(file: FileLocks, { open, owner }: LockRequest): void {
  const owners = file.opens.get(open)
  if (owners === undefined) file.opens.set(open, new Set([owner]))
  else owners.add(owner)
}

const isUnused = ({ ranges, whole, waiters }: FileLocks): boolean =>
  ranges.isEmpty && whole.size === 0 && waiters.length === 0
