/**
 * Lock requests as they come from the kernel, by way of a worker, answered from the lock table. Context: the keeper's thread.
 */
import { Reply, requestNumber } from '../../fuse/messages.ts'
import { LK_OUT_BYTES } from '../../fuse/protocol.ts'
import { ERRNO } from '../../linux/errors.ts'
import { write } from '../../linux/fuse-device.ts'
import { F_RDLCK, F_UNLCK, F_WRLCK } from '../../linux/locks.ts'
import { EarlyInterrupts } from '../early-interrupts.ts'
import type { Asked, ToKeeper } from '../shared-state.ts'
import type { LockCounts } from './lock-counts.ts'
import { type LockRequest, type LocksBelow, LockTable } from './lock-table.ts'
import type { HeldLock } from './range-locks.ts'

export class LockRequests {
  readonly table: LockTable
  /** How to take back those that wait, by the request's number. */
  readonly #waiting = new Map<string, () => void>()
  readonly #early = new EarlyInterrupts()
  readonly #reply = new Reply(64)

  constructor(below: LocksBelow, counts: LockCounts) {
    this.table = new LockTable({
      below,
      counted: (inoLow, inodes) => counts.add(inoLow, inodes),
      now: () => performance.now(),
      retryAfter: (ms) => setTimeout(() => this.table.retry(), ms),
    })
  }

  /** Takes a message from a worker; false where it is not about locks. Interrupts are for others, too. */
  receive(message: ToKeeper): boolean {
    switch (message.type) {
      case 'findLock':
        this.#find(message, message.lock)
        return true
      case 'setLock':
        this.#set(message, message.lock)
        return true
      case 'flush':
        this.table.flushed(message.key, message.owner)
        this.#answer(message, 0, 0)
        return true
      case 'released':
        this.table.released(message.key, message.open)
        return true
      case 'interrupt':
        this.#interrupt(numberOf(message))
        return false
      default:
        return false
    }
  }

  #find(asked: Asked, lock: LockRequest): void {
    const found = this.table.find(lock)
    const reply = this.#reply
    reply.zero(0, LK_OUT_BYTES)
    if (found === undefined) reply.setU32(16, F_UNLCK)
    else setLock(reply, found)
    this.#answer(asked, 0, LK_OUT_BYTES)
  }

  #set(asked: Asked, lock: LockRequest): void {
    const number = numberOf(asked)
    if (this.#early.take(number)) {
      this.#answer(asked, -ERRNO.EINTR, 0)
      return
    }
    let isAnswered = false
    const takeBack = this.table.set(lock, (result) => {
      isAnswered = true
      this.#waiting.delete(number)
      this.#answer(asked, result, 0)
    })
    if (!isAnswered) this.#waiting.set(number, takeBack)
  }

  #interrupt(number: string): void {
    const takeBack = this.#waiting.get(number)
    if (takeBack !== undefined) takeBack()
    else this.#early.add(number)
  }

  #answer({ fuseFd, uniqueLow, uniqueHigh }: Asked, error: number, length: number): void {
    write(fuseFd, this.#reply.bytes, this.#reply.finish(uniqueLow, uniqueHigh, error, length))
  }
}

/** A struct fuse_file_lock: start u64 @0 · end u64 @8 · type u32 @16 · pid u32 @20. */
function setLock(reply: Reply, { start, end, exclusive, pid }: HeldLock): void {
  setLong(reply, 0, start)
  setLong(reply, 8, end)
  reply.setU32(16, exclusive ? F_WRLCK : F_RDLCK)
  reply.setU32(20, pid)
}

const setLong = (reply: Reply, at: number, value: bigint): void =>
  reply.setU64(at, Number(value & 0xffff_ffffn), Number(value >> 32n))

const numberOf = ({ uniqueLow, uniqueHigh }: { uniqueLow: number; uniqueHigh: number }): string =>
  requestNumber(uniqueLow, uniqueHigh)
