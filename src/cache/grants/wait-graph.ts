/**
 * Who waits for whom, through any number of files: deadlocks are found when the wish is made that would close a circle.
 *
 * An edge leads from a claim that waits to each claim in its way. From a grant, given or asked for, one goes on with all that its holder waits for: it gives the
 * grant back after it has got that. A passage that waits leads only to what is in its own way. One that is inside leads nowhere: it leaves by itself.
 *
 * Edges lead to what came before, but for one case: a claim *passes* those ahead of it that wait for its own holder, and so cannot have their turn before it has. Who is passed is decided when the claim
 * is made. Later it can only become fewer: who does not wait for that holder any more is waited for. That closes no circle, as a circle would lead through the holder; nor does a claim's start, for
 * those that it has passed wait for its holder anyway. So none closes but by a new claim.
 */
import { type Claim, exclude, excludeForLong, type FileClaims } from './claims.ts'

export class WaitGraph {
  readonly #files: ReadonlyMap<string, FileClaims>
  readonly #waitsOf: (holder: string) => Iterable<Claim>
  /** Claims that pass others. */
  readonly #passing = new Set<Claim>()

  constructor(files: ReadonlyMap<string, FileClaims>, waitsOf: (holder: string) => Iterable<Claim>) {
    this.#files = files
    this.#waitsOf = waitsOf
  }

  /** Of a claim that is about to wait, if not to start: whom it passes. */
  passWhoWaits(claim: Claim): void {
    if (claim.holder === undefined) return
    for (const ahead of this.#files.get(claim.file)?.waiting ?? [])
      if (exclude(claim, ahead) && this.#leadsTo(ahead, claim.holder)) claim.passes.add(ahead)
    if (claim.passes.size > 0) this.#passing.add(claim)
  }

  /** Something has ended: who does not wait for a claim's holder any more is not passed by it. */
  refresh(): void {
    for (const claim of this.#passing) {
      for (const ahead of claim.passes)
        if (ahead.phase !== 'waiting' || !this.#leadsTo(ahead, claim.holder!)) claim.passes.delete(ahead)
      if (claim.phase !== 'waiting' || claim.passes.size === 0) this.#passing.delete(claim)
    }
  }

  /** Whether `claim`, were it to wait, would wait for its own holder. */
  closesCircle(claim: Claim): boolean {
    return claim.holder !== undefined && this.#leadsTo(claim, claim.holder)
  }

  #leadsTo(from: Claim, holder: string): boolean {
    const seen = new Set<Claim | string>()
    const open: Claim[] = [from]
    for (let claim = open.pop(); claim !== undefined; claim = open.pop()) {
      for (const other of this.#inTheWayOf(claim)) {
        if (other.kind === 'passage') {
          if (!seen.has(other)) open.push(other)
          seen.add(other)
          continue
        }
        if (other.holder === holder) return true
        if (seen.has(other.holder)) continue
        seen.add(other.holder)
        open.push(...this.#waitsOf(other.holder))
      }
    }
    return false
  }

  *#inTheWayOf(claim: Claim): Iterable<Claim> {
    const file = this.#files.get(claim.file)
    if (file === undefined) return
    for (const grant of file.grants) if (excludeForLong(claim, grant)) yield grant
    for (const ahead of file.waiting) {
      if (ahead === claim) return
      if (ahead.phase === 'waiting' && excludeForLong(claim, ahead) && !claim.passes.has(ahead)) yield ahead
    }
  }
}
