/**
 * The table of grants: who has which pages, who is inside, who waits; and whose turn it is.
 *
 * A wish is granted when nothing that excludes it is there, and nothing that excludes it came before and still waits. So nobody is overtaken by whom he excludes:
 * a stream of readers does not keep a grant off, nor grants a reader. One exception: who waits for a holder is overtaken by it (see wait-graph.ts).
 *
 * With `holdMs` a holder for whom others wait is asked to give the grant back after that time, and loses it `revokeMs` later.
 *
 * Invariants (restated by {@link GrantTable.checkInvariants}): no two grants of a page; nobody inside whom a grant excludes, but for those whom a publish waits for; who
 * waits is kept out by somebody; nobody waits for himself; a file without claims is not there.
 *
 * Pure. Context: one thread.
 */
import { type Claim, exclude, type FileClaims, GrantClaim, overlap, PassageClaim } from './claims.ts'
import type {
  Grant,
  GrantAuthority,
  GrantWish,
  PageRange,
  PassageWish,
  RefusalCode,
  TakeBack,
  Timers,
} from './grant-authority.ts'
import { WaitGraph } from './wait-graph.ts'

export interface GrantTableOptions {
  /** A holder is let hold for so long while others wait; as long as it likes if not given. */
  readonly holdMs?: number
  /** Then it has so long to give the grant back. */
  readonly revokeMs?: number
}

const REVOKE_MS = 5000

interface GrantCounts {
  granted: number
  /** Wishes, of grants and passages, that had to wait. */
  waited: number
  /** Grants that were taken from their holders. */
  taken: number
  refused: number
}

export class GrantTable implements GrantAuthority {
  readonly counts: GrantCounts = { granted: 0, waited: 0, taken: 0, refused: 0 }
  readonly #timers: Timers
  readonly #options: GrantTableOptions
  readonly #files = new Map<string, FileClaims>()
  /** What holders wait for. */
  readonly #waits = new Map<string, Set<Claim>>()
  readonly #held = new Map<string, Set<GrantClaim>>()
  readonly #graph: WaitGraph
  /** Calls to be made when the table is as it should be. */
  #calls: (() => void)[] = []
  #isCalling = false

  constructor(timers: Timers, options: GrantTableOptions = {}) {
    this.#timers = timers
    this.#options = options
    this.#graph = new WaitGraph(this.#files, (holder) => this.#waits.get(holder) ?? [])
  }

  /** Files with grants, passages or waiters. */
  get filesInUse(): number {
    return this.#files.size
  }

  request(wish: GrantWish): TakeBack {
    if (!(wish.from < wish.to)) throw new RangeError(`there are no pages from ${wish.from} to ${wish.to}`)
    return this.#ask(new GrantClaim(wish))
  }

  enter(wish: PassageWish): TakeBack {
    return this.#ask(new PassageClaim(wish))
  }

  isQuiet(file: string): boolean {
    const claims = this.#files.get(file)
    return claims === undefined || (claims.grants.length === 0 && claims.waiting.length === 0)
  }

  release(grant: Grant): boolean {
    const claim = grant as GrantClaim
    if (claim.phase === 'ended') return false
    if (claim.isPublishing) claim.isDoomed = true
    else this.#end(claim)
    this.#call()
    return true
  }

  revoke(grant: Grant, deadlineMs: number): void {
    const claim = grant as GrantClaim
    const takenAtMs = this.#timers.now() + deadlineMs
    if (claim.phase === 'ended' || claim.isDoomed || takenAtMs >= claim.takenAtMs) return
    claim.takenAtMs = takenAtMs
    claim.stopTaking?.()
    claim.stopTaking = this.#timers.after(deadlineMs, () => this.#take(claim))
    const { onRevoke } = claim.wish
    if (onRevoke !== undefined) this.#calls.push(() => onRevoke(deadlineMs))
    this.#call()
  }

  grantsIn(range: PageRange): Grant[] {
    return this.#files.get(range.file)?.grants.filter((grant) => overlap(grant, range)) ?? []
  }

  holderGone(holder: string): void {
    for (const claim of [...(this.#waits.get(holder) ?? [])]) this.#refuse(claim, 'ECANCELED')
    for (const claim of [...(this.#held.get(holder) ?? [])])
      if (claim.isPublishing) claim.isDoomed = true
      else this.#end(claim)
    this.#call()
  }

  beginPublish(grant: Grant, onReady: () => void): boolean {
    const claim = grant as GrantClaim
    if (claim.phase !== 'held') return false
    claim.phase = 'draining'
    claim.onReady = onReady
    this.#checkDrained(this.#files.get(claim.file)!)
    this.#call()
    return true
  }

  endPublish(grant: Grant): void {
    const claim = grant as GrantClaim
    if (claim.phase !== 'publishing') throw new Error('a publish ends that has not begun')
    claim.phase = 'held'
    if (claim.isDoomed) this.#end(claim)
    else this.#wake(this.#files.get(claim.file)!)
    this.#call()
  }

  /** Throws where an invariant does not hold. */
  checkInvariants(): void {
    for (const file of this.#files.values()) {
      const { grants, inside, waiting } = file
      if (isUnused(file)) throw new Error(`${file.file}: nobody uses it`)
      for (const [i, grant] of grants.entries()) {
        if (grant.phase === 'waiting' || grant.phase === 'ended') throw new Error(`${nameOf(grant)} is not given`)
        for (const other of grants.slice(i + 1))
          if (overlap(grant, other)) throw new Error(`${nameOf(grant)} and ${nameOf(other)} are given at a time`)
        for (const passage of inside)
          if (exclude(grant, passage) && grant.phase !== 'draining')
            throw new Error(`${nameOf(passage)} is inside of ${nameOf(grant)}`)
      }
      for (const [i, claim] of waiting.entries()) {
        if (claim.phase !== 'waiting') throw new Error(`${nameOf(claim)} does not wait`)
        if (!this.#isKeptOut(file, claim, waiting.slice(0, i))) throw new Error(`${nameOf(claim)} waits for nobody`)
        if (this.#graph.closesCircle(claim)) throw new Error(`${nameOf(claim)} waits for itself`)
      }
    }
  }

  #ask(claim: Claim): TakeBack {
    const file = this.#fileOf(claim.file)
    this.#graph.passWhoWaits(claim)
    if (!this.#isKeptOut(file, claim, file.waiting)) this.#start(file, claim)
    else {
      const code = !claim.wish.wait ? 'EAGAIN' : this.#graph.closesCircle(claim) ? 'EDEADLK' : undefined
      if (code === undefined) this.#wait(file, claim)
      else this.#answerNo(claim, code)
    }
    this.#dropIfUnused(file)
    this.#call()
    return () => {
      if (claim.phase !== 'waiting') return false
      this.#refuse(claim, 'ECANCELED')
      this.#call()
      return true
    }
  }

  #isKeptOut(file: FileClaims, claim: Claim, ahead: readonly Claim[]): boolean {
    for (const grant of file.grants) if (exclude(claim, grant)) return true
    if (claim.kind === 'grant') for (const passage of file.inside) if (exclude(claim, passage)) return true
    for (const other of ahead) if (exclude(claim, other) && !claim.passes.has(other)) return true
    return false
  }

  #start(file: FileClaims, claim: Claim): void {
    this.#stopWaiting(claim)
    if (claim.kind === 'grant') {
      claim.phase = 'held'
      claim.grantedAtMs = this.#timers.now()
      file.grants.push(claim)
      addTo(this.#held, claim.holder, claim)
      this.counts.granted++
      this.#calls.push(() => claim.wish.onGranted(claim))
      return
    }
    claim.phase = 'inside'
    file.inside.add(claim)
    this.#calls.push(() => claim.wish.onEntered(() => this.#leave(claim)))
  }

  #wait(file: FileClaims, claim: Claim): void {
    file.waiting.push(claim)
    if (claim.holder !== undefined) addTo(this.#waits, claim.holder, claim)
    const { timeoutMs } = claim.wish
    if (timeoutMs !== undefined)
      claim.stopTimeout = this.#timers.after(timeoutMs, () => {
        this.#refuse(claim, 'ETIMEDOUT')
        this.#call()
      })
    this.counts.waited++
    this.#askHolders(file)
  }

  #leave(claim: PassageClaim): void {
    if (claim.phase !== 'inside') return
    claim.phase = 'ended'
    const file = this.#files.get(claim.file)!
    file.inside.delete(claim)
    this.#checkDrained(file)
    this.#wake(file)
    this.#call()
  }

  #checkDrained(file: FileClaims): void {
    for (const grant of file.grants) {
      if (grant.phase !== 'draining') continue
      if ([...file.inside].some((passage) => exclude(grant, passage))) continue
      grant.phase = 'publishing'
      this.#calls.push(grant.onReady!)
    }
  }

  #end(claim: GrantClaim): void {
    claim.phase = 'ended'
    claim.stopAsking?.()
    claim.stopTaking?.()
    removeFrom(this.#held, claim.holder, claim)
    const file = this.#files.get(claim.file)!
    file.grants = file.grants.filter((grant) => grant !== claim)
    if (claim.wish.onEnded !== undefined) this.#calls.push(claim.wish.onEnded)
    this.#wake(file)
  }

  #take(claim: GrantClaim): void {
    this.counts.taken++
    if (claim.isPublishing) claim.isDoomed = true
    else this.#end(claim)
    this.#call()
  }

  #refuse(claim: Claim, code: RefusalCode): void {
    const file = this.#files.get(claim.file)!
    file.waiting = file.waiting.filter((other) => other !== claim)
    this.#stopWaiting(claim)
    this.#answerNo(claim, code)
    this.#wake(file)
  }

  #answerNo(claim: Claim, code: RefusalCode): void {
    claim.phase = 'ended'
    this.counts.refused++
    this.#calls.push(() => claim.wish.onRefused(code))
  }

  #stopWaiting(claim: Claim): void {
    claim.stopTimeout?.()
    if (claim.holder !== undefined) removeFrom(this.#waits, claim.holder, claim)
  }

  /** Whoever's turn it is gets it. */
  #wake(file: FileClaims): void {
    this.#graph.refresh()
    if (file.waiting.length > 0) {
      const still: Claim[] = []
      for (const claim of file.waiting)
        if (this.#isKeptOut(file, claim, still)) still.push(claim)
        else this.#start(file, claim)
      file.waiting = still
      this.#askHolders(file)
    }
    this.#dropIfUnused(file)
  }

  /** Holders for whom somebody waits are asked in time to give the grant back. */
  #askHolders(file: FileClaims): void {
    const { holdMs, revokeMs = REVOKE_MS } = this.#options
    if (holdMs === undefined) return
    for (const grant of file.grants) {
      if (grant.stopAsking !== undefined || !file.waiting.some((claim) => exclude(claim, grant))) continue
      const restMs = Math.max(0, grant.grantedAtMs + holdMs - this.#timers.now())
      grant.stopAsking = this.#timers.after(restMs, () => {
        grant.stopAsking = undefined
        // They may have gone meanwhile.
        if (file.waiting.some((claim) => exclude(claim, grant))) this.revoke(grant, revokeMs)
      })
    }
  }

  /** Makes the calls that are due. Who is called may call the table: what comes of it is called after that. */
  #call(): void {
    if (this.#isCalling) return
    this.#isCalling = true
    try {
      for (let due = this.#calls; due.length > 0; due = this.#calls) {
        this.#calls = []
        for (const call of due) call()
      }
    } finally {
      this.#isCalling = false
    }
  }

  #fileOf(file: string): FileClaims {
    const known = this.#files.get(file)
    if (known !== undefined) return known
    const claims = { file, grants: [], inside: new Set<PassageClaim>(), waiting: [] }
    this.#files.set(file, claims)
    return claims
  }

  #dropIfUnused(file: FileClaims): void {
    if (isUnused(file)) this.#files.delete(file.file)
  }
}

function isUnused({ grants, inside, waiting }: FileClaims): boolean {
  return grants.length === 0 && inside.size === 0 && waiting.length === 0
}

function addTo<T>(sets: Map<string, Set<T>>, key: string, item: T): void {
  const set = sets.get(key)
  if (set === undefined) sets.set(key, new Set([item]))
  else set.add(item)
}

function removeFrom<T>(sets: Map<string, Set<T>>, key: string, item: T): void {
  const set = sets.get(key)
  if (set?.delete(item) === true && set.size === 0) sets.delete(key)
}

function nameOf(claim: Claim): string {
  const what = claim.kind === 'grant' ? 'grant' : claim.wish.writes ? 'write' : 'read'
  return `${what} of ${claim.file} ${claim.from}–${claim.to} by ${claim.holder ?? 'nobody'}`
}
