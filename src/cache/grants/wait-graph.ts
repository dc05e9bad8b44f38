/**
 * Who waits for whom, through any number of files: deadlocks are found when the wish is made that would close a circle.
 *
 * An edge leads from a claim that waits to each claim in its way. From a grant, given or asked for, one goes on with all that its holder waits for: it gives the
 * grant back after it has got that. A passage that waits leads only to what is in its own way. One that is inside leads nowhere: it leaves by itself.
 *
 * All edges lead to what came before, so none is added but with a new claim.
 */
import { type Claim, excludeForLong, type FileClaims } from './claims.ts'

export class WaitGraph {
  readonly #files: ReadonlyMap<string, FileClaims>
  readonly #waitsOf: (holder: string) => Iterable<Claim>

  constructor(files: ReadonlyMap<string, FileClaims>, waitsOf: (holder: string) => Iterable<Claim>) {
    this.#files = files
    this.#waitsOf = waitsOf
  }

  /**
   * Whether `claim` lets `ahead`, which came first and waits too, have its turn first. Not if that one waits for the claim's own holder: it cannot have its
   * turn before the claim has.
   */
  givesWay(claim: Claim, ahead: Claim): boolean {
    return claim.holder === undefined || !this.#leadsTo(ahead, claim.holder, () => true)
  }

  /** Whether `claim`, were it to wait, would wait for its own holder. */
  closesCircle(claim: Claim): boolean {
    if (claim.holder === undefined) return false
    return this.#leadsTo(claim, claim.holder, (waiting, ahead) => this.givesWay(waiting, ahead))
  }

  /** `counts`: which of those that are ahead of one that waits are in its way. */
  #leadsTo(from: Claim, holder: string, counts: (waiting: Claim, ahead: Claim) => boolean): boolean {
    const seen = new Set<Claim | string>()
    const open: Claim[] = [from]
    for (let claim = open.pop(); claim !== undefined; claim = open.pop()) {
      for (const other of this.#inTheWayOf(claim, counts)) {
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

  *#inTheWayOf(claim: Claim, counts: (waiting: Claim, ahead: Claim) => boolean): Iterable<Claim> {
    const file = this.#files.get(claim.file)
    if (file === undefined) return
    for (const grant of file.grants) if (excludeForLong(claim, grant)) yield grant
    for (const ahead of file.waiting) {
      if (ahead === claim) return
      if (ahead.phase === 'waiting' && excludeForLong(claim, ahead) && counts(claim, ahead)) yield ahead
    }
  }
}
