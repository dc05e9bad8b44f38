/**
 * The keeper: decides how files that may share are served, and keeps the tables that the workers read. It runs on the main
 * thread of the serving process; what takes long (extents, clones) runs on the libuv pool, so that other decisions go on.
 *
 * The life of an open that it decides: a worker hands over the request with a descriptor → families prove what is shared →
 * under the slot's lock the decision is stored and the homes are taken → the keeper answers the kernel itself.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { OwnPages } from '../cache/own-pages.ts'
import { ARENA, RunMap } from '../cache/run-map.ts'
import { Reply, requestNumber } from '../fuse/messages.ts'
import type { Families } from '../homes/families.ts'
import type { Home } from '../homes/home.ts'
import { type HomeUsers, isSameStamp, type SourceFile } from '../homes/home-storage.ts'
import type { ByteRange } from '../homes/recheck.ts'
import type { DivergedServing, PristineServing, Serving } from '../homes/serving.ts'
import { ERRNO, SystemError } from '../linux/errors.ts'
import { close, O_NONBLOCK, reopen } from '../linux/file.ts'
import { backingClose, backingOpen, write } from '../linux/fuse-device.ts'
import { STATX_ATTR, Statx } from '../linux/statx.ts'
import type { ContentFile } from './content/content-files.ts'
import type { DirectHome, DirectHomes } from './dax/direct-homes.ts'
import { DecidedFiles } from './decided-files.ts'
import { EarlyInterrupts } from './early-interrupts.ts'
import type { GrantedRanges } from './grants/granted-ranges.ts'
import { SLOT } from './inode-table.ts'
import { KnownMaps, type KnownMapsParts } from './known-maps.ts'
import type { LockCounts } from './locks/lock-counts.ts'
import type { OpenNodes } from './near/open-nodes.ts'
import { flagsBelow, isWriting, passesArena } from './open-flags.ts'
import { ServedOpens, UNDECIDED } from './served-opens.ts'
import type { SharedHomes } from './shared-homes.ts'
import type { HomeRef, ToKeeper } from './shared-state.ts'
import { SERVED } from './slot-serving.ts'
import type { WarmFiles } from './warm-files.ts'

type OpenRequest = Extract<ToKeeper, { type: 'open' }>

/** A home's file as the daemon needs it. */
export interface HomeDescriptor {
  /** For reading. */
  readonly fd: number
  /** Only then may clients be passed through to it: the kernel opens it for them, with the flags that they ask for. */
  readonly isWriteProtected: boolean
}

export interface KeeperParts<File extends SourceFile, HomeFile extends HomeDescriptor> extends KnownMapsParts {
  readonly homes: SharedHomes
  readonly locks: LockCounts
  readonly warm: WarmFiles
  readonly granted: GrantedRanges
  readonly fuseFd: number
  /** On which NUMA nodes files were opened; undefined where that does not matter. */
  readonly opened: OpenNodes | undefined
  /** Homes that are read where they lie; undefined where none is. */
  readonly direct: DirectHomes | undefined
  /** How families reach the file in a slot. */
  readonly fileOf: (slot: number) => File
  readonly familiesFor: (users: HomeUsers, forget: (key: string) => void) => Families<File, HomeFile>
}

/** Times that an open is decided again because the file changed, or a home went, in between. */
const ATTEMPTS = 4

/** Between two looks at whether a lease is still there. */
const LEASE_RETRY_MS = 5

const WHOLE: readonly ByteRange[] = [[0, Number.POSITIVE_INFINITY]]

export class Keeper<File extends SourceFile, HomeFile extends HomeDescriptor> {
  readonly families: Families<File, HomeFile>
  readonly maps: KnownMaps
  readonly #parts: KeeperParts<File, HomeFile>
  readonly #opening: ServedOpens
  /** Opens that wait for a decision, by the request's number. */
  readonly #waiting = new Map<string, OpenRequest>()
  readonly #early = new EarlyInterrupts()
  readonly #decided: DecidedFiles
  readonly #takenBefore = new Map<number, number>()
  readonly #stat = new Statx()
  readonly #reply = new Reply(256)

  constructor(parts: KeeperParts<File, HomeFile>) {
    this.#parts = parts
    this.#decided = new DecidedFiles(parts.inodes)
    this.maps = new KnownMaps(parts)
    this.#opening = new ServedOpens({ ...parts, maps: this.maps })
    this.families = parts.familiesFor(this.#users(), (key) => this.#forget(key))
  }

  /** Files that wait for a decision now. */
  get waitingCount(): number {
    return this.#waiting.size
  }

  /** Takes a message from a worker. */
  receive(message: ToKeeper): void {
    if (message.type === 'open') void this.#open(message)
    else if (message.type === 'unmap') this.maps.discard(message.map)
    else if (message.type === 'interrupt') this.#interrupt(requestNumber(message.uniqueLow, message.uniqueHigh))
  }

  /** To be called every few seconds: tells families which homes were used, and lets them drop others; all that nobody uses where space is `short`. */
  async sweep(short: boolean): Promise<void> {
    for (const { number, generation } of this.families.homes()) {
      const taken = this.#parts.homes.taken(number)
      if (this.#takenBefore.get(number) !== taken) this.families.touched(number, generation)
      this.#takenBefore.set(number, taken)
    }
    await this.families.sweep()
    if (short) await this.families.dropUnused()
  }

  async #open(request: OpenRequest): Promise<void> {
    const key = requestNumber(request.uniqueLow, request.uniqueHigh)
    this.#waiting.set(key, request)
    try {
      if (this.#early.take(key)) {
        this.#endWaiting(request)
        return
      }
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const file = this.#asWanted(request, this.#parts.fileOf(request.slot))
        if (await this.#lookForChanges(request, file)) {
          if (!this.#waiting.has(key)) return
          if (this.#answer(request, () => this.#applyAs(request, undefined, true))) return
          continue
        }
        // Where nothing shares by address there is nothing to find out.
        const decided = this.#parts.options.sharing ? await this.families.serve(file) : undefined
        if (!this.#waiting.has(key)) return
        if (decided !== undefined) this.#decided.add(file.key, request.slot)
        if (!this.#answer(request, () => this.#applyAs(request, decided))) continue
        // Moved to another domain meanwhile: this open is served as was decided, and none after it.
        if (this.#parts.fileOf(request.slot).key !== file.key) this.#parts.serving.forgetDecision(request.slot)
        return
      }
      // What is left to wait for is a lease that somebody has below.
      while (this.#waiting.has(key) && !this.#answer(request, () => this.#applyAs(request, undefined, true)))
        await sleep(LEASE_RETRY_MS)
    } catch (error) {
      if (!this.#waiting.has(key)) return
      this.#answer(request, () => {
        throw error
      })
    }
  }

  /** What is mapped are homes. So a file that is to be read where it lies, and that nobody is passed through to, gets one, whoever shares it; not for writers, who would have to copy what they write. */
  #asWanted({ fd, flags }: OpenRequest, file: File): File {
    const { direct, options } = this.#parts
    if (direct === undefined || options.passthrough || isWriting(flags) || !direct.isWanted(fd)) return file
    return { ...file, wantsHome: direct.homesFor }
  }

  /**
   * Of a file that is written while it lies in homes: finds what others have changed in the source, and makes it the file's own. False where
   * nothing is to be looked for.
   */
  async #lookForChanges({ slot, fd }: OpenRequest, file: File): Promise<boolean> {
    const { inodes, serving } = this.#parts
    const lock = inodes.lockOf(slot)
    const { look, map } = lock.locked(() => ({
      look: inodes.get(slot, SLOT.OPENS) > 0 ? this.#opening.dueLook(slot, fd, this.#stat) : 0,
      map: inodes.get(slot, SLOT.MAP),
    }))
    const known = this.maps.get(map)
    if (look === 0 || known?.own === undefined) return false
    const { size } = this.#stat
    const own = new OwnPages(known.own)
    // What is not in a home cannot be compared with one.
    const isInHomes = known.content === undefined
    const changed = isInHomes ? await this.families.changedRanges(file, size, known.runs, known.refs) : WHOLE
    for (const [start, end] of changed) own.add(start, end)
    if (size !== known.runs.sizeBytes) own.add(Math.min(size, known.runs.sizeBytes), Number.POSITIVE_INFINITY)
    lock.locked(() => {
      if (inodes.get(slot, SLOT.MAP) === map) serving.checked(slot, look)
    })
    return true
  }

  #interrupt(key: string): void {
    const request = this.#waiting.get(key)
    if (request === undefined) this.#early.add(key)
    else this.#endWaiting(request)
  }

  /** A signal came for who waits. He has the file as it is, at once: a local disk knows no EINTR, nor may he be left unkillable. But for a lease, where a signal ends the waiting natively, too. */
  #endWaiting(request: OpenRequest): void {
    if (this.#answer(request, () => this.#applyAs(request, undefined, true))) return
    this.#answer(request, () => {
      throw new SystemError(ERRNO.EINTR, 'open')
    })
  }

  /**
   * Opens the file by `open` and answers the kernel, without waiting in between: there is one reply for all. False where the file has to
   * be decided on again.
   */
  #answer(request: OpenRequest, open: () => number): boolean {
    const { uniqueLow, uniqueHigh } = request
    let result: number
    try {
      result = open()
    } catch (error) {
      close(request.fd)
      const errno = (error as { errno?: unknown }).errno
      result = typeof errno === 'number' && errno < 0 ? errno : -ERRNO.EIO
    }
    if (result === UNDECIDED) return false
    this.#waiting.delete(requestNumber(uniqueLow, uniqueHigh))
    const failed = result < 0
    const bytes = this.#reply.finish(uniqueLow, uniqueHigh, failed ? result : 0, failed ? 0 : result)
    const sent = write(request.fuseFd, this.#reply.bytes, bytes)
    // The connection was aborted: the kernel will not release what it never opened.
    if (sent < 0 && !failed) this.#takeBack(request)
    return true
  }

  /**
   * As {@link #apply}, with a descriptor as the client wants it: while the file was examined nobody was to have it open for writing. {@link UNDECIDED} also where somebody has a
   * lease on it below.
   */
  #applyAs(request: OpenRequest, decided: Serving<HomeFile> | undefined, looked = false): number {
    if (!isWriting(request.flags)) return this.#apply(request, request.fd, decided, looked)
    const fd = reopen(request.fd, flagsBelow(request.flags))
    if (fd === -ERRNO.EAGAIN && (request.flags & O_NONBLOCK) === 0) return UNDECIDED
    this.#parts.opened?.copy(request.fd, fd)
    if (fd < 0) {
      close(request.fd)
      return fd
    }
    let result: number
    try {
      result = this.#apply(request, fd, decided, looked)
    } catch (error) {
      close(fd)
      throw error
    }
    close(result === UNDECIDED ? fd : request.fd)
    return result
  }

  /**
   * Stores the decision (undefined: by itself, this once) and opens the file, or joins those who have it open (`looked`: see {@link ServedOpens.join}); {@link UNDECIDED} where the file changed or a home went
   * meanwhile.
   */
  #apply(request: OpenRequest, fd: number, decided: Serving<HomeFile> | undefined, looked: boolean): number {
    const { inodes, homes, options } = this.#parts
    const { slot, flags } = request
    const lock = inodes.lockOf(slot)
    const mapped = this.#mapOf(decided)
    lock.lock()
    try {
      const error = this.#stat.ofFd(fd)
      if (error < 0) {
        close(fd)
        return error
      }
      // Somebody else's open was decided first: this one joins it, or asks for another nodeid.
      if (inodes.get(slot, SLOT.OPENS) > 0) return this.#opening.join(slot, fd, this.#stat, flags, this.#reply, looked)

      const isCurrent = decided !== undefined && isSameStamp(decided.stamp, this.#stat)
      const remember = isCurrent && decided.remember
      const recheck =
        decided === undefined || decided.recheckAtMs === Number.POSITIVE_INFINITY
          ? 0
          : Math.ceil(decided.recheckAtMs / 1000)
      if (decided === undefined || decided.kind === 'private') {
        const content = remember || !options.sharing ? this.#contentFor(request, fd) : undefined
        if (content === undefined) this.#opening.decide(slot, SERVED.PRIVATE, this.#stat, remember, recheck)
        else {
          const map = this.maps.add(slot, RunMap.whole(ARENA, this.#stat.size), [], content)
          this.#decideMapped(slot, map, true, recheck)
        }
        return this.#opening.open(slot, fd, flags, this.#reply, this.#stat)
      }
      const refs = refsOf(decided)
      if (!isCurrent || !this.#opening.acquireAll(refs)) return UNDECIDED
      const canChange = options.strict && (this.#stat.attributesLow & STATX_ATTR.VERITY) === 0
      const isPassable = !isWriting(flags) && options.passthrough && !canChange && !this.#opening.isGranted(slot)
      if (decided.kind === 'pristine' && isPassable && this.#backing(decided.home) > 0) {
        this.#opening.decide(slot, SERVED.PRISTINE, this.#stat, remember, recheck)
        inodes.set(slot, SLOT.HOME, decided.home.number)
        inodes.set(slot, SLOT.HOME_GENERATION, decided.home.generation)
      } else {
        const map = this.maps.add(slot, mapped!, refs, undefined, this.#directOf(decided))
        if (map === 0) for (const { number } of refs) homes.release(number)
        this.#decideMapped(slot, map, remember, recheck)
      }
      return this.#opening.open(slot, fd, flags, this.#reply, this.#stat)
    } finally {
      lock.unlock()
    }
  }

  /** Stores that the file, whose state is {@link #stat}, is read by `map`; where there is none, by itself, this once. */
  #decideMapped(slot: number, map: number, remember: boolean, recheck: number): void {
    if (map === 0) this.#opening.decide(slot, SERVED.PRIVATE, this.#stat, false, 0)
    else {
      this.#opening.decide(slot, SERVED.MAPPED, this.#stat, remember, recheck)
      this.#parts.inodes.set(slot, SLOT.MAP, map)
    }
  }

  /** Under the slot's lock: where the file is held in the arena, if it is to be; {@link #stat} is its state. */
  #contentFor({ slot, flags }: OpenRequest, fd: number): ContentFile | undefined {
    const { contents, options, fileOf } = this.#parts
    if (contents === undefined || passesArena(flags) || this.#stat.size < options.minShareBytes) return undefined
    // What is read where it lies is not to be copied to main memory.
    if (this.#parts.direct?.isWanted(fd)) return undefined
    // Reads from the arena may be answered while the bytes are being published.
    if (this.#opening.isGranted(slot)) return undefined
    const { key, domain } = fileOf(slot)
    return contents.take(key, domain, fd, this.#stat, this.maps.dropContents)
  }

  #mapOf(decided: Serving<HomeFile> | undefined): RunMap | undefined {
    if (decided === undefined || decided.kind === 'private') return undefined
    for (const home of homesOf(decided)) this.#publish(home)
    if (decided.kind === 'diverged') return decided.map
    return RunMap.whole(decided.home.number, decided.stamp.size)
  }

  /** Of the homes of a decision, which are held, those that are read where they lie. */
  #directOf(decided: Exclude<Serving<HomeFile>, { kind: 'private' }>): ReadonlyMap<number, DirectHome> | undefined {
    const { direct } = this.#parts
    if (direct === undefined) return undefined
    const found = new Map<number, DirectHome>()
    for (const { number, file, size } of homesOf(decided)) {
      const home = direct.of(number, file.fd, size)
      if (home !== undefined) found.set(number, home)
    }
    return found.size > 0 ? found : undefined
  }

  #publish(home: Home<HomeFile>): void {
    const { homes, options, fuseFd } = this.#parts
    // Gone since it was decided on: its descriptor may be another file's by now. Nobody can take it, so the file is decided on again.
    if (home.state === 'retired') return
    if (homes.generation(home.number) === home.generation) return
    const backing = options.passthrough && home.file.isWriteProtected ? backingOpen(fuseFd, home.file.fd) : 0
    homes.publish(home.number, home.generation, home.file.fd, Math.max(0, backing))
  }

  #backing(home: Home<HomeFile>): number {
    return this.#parts.homes.backing(home.number)
  }

  #takeBack(request: OpenRequest): void {
    const { words } = this.#reply
    this.#opening.release(request.slot, words[4]!, words[5]!, request.flags)
  }

  #forget(key: string): void {
    const slot = this.#decided.take(key)
    if (slot !== undefined) this.#parts.serving.forgetDecision(slot)
  }

  #users(): HomeUsers {
    const { homes } = this.#parts
    return {
      isUsed: (number, generation) => homes.generation(number) === generation && homes.users(number) > 0,
      tryRetire: (number, generation) => {
        // Never published: nobody can know of it.
        if (homes.generation(number) !== generation) return true
        const backing = homes.backing(number)
        if (!homes.retire(number)) return false
        this.#parts.direct?.retired(number)
        if (backing > 0) backingClose(this.#parts.fuseFd, backing)
        return true
      },
    }
  }
}

function homesOf<HomeFile>(decided: PristineServing<HomeFile> | DivergedServing<HomeFile>): readonly Home<HomeFile>[] {
  return decided.kind === 'pristine' ? [decided.home] : decided.homes
}

function refsOf<HomeFile>(decided: Serving<HomeFile>): readonly HomeRef[] {
  if (decided.kind === 'private') return []
  return homesOf(decided).map(({ number, generation }) => ({ number, generation }))
}
