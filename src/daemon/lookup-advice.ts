/**
 * Whether listing a directory should look its entries up along the way. The kernel asks for that (READDIRPLUS) at the start
 * of every directory, and it is right for `ls -l`; for a plain `find` it is most of the work, done for nothing.
 *
 * So a listing gives names only, unless files were looked up by name lately: that is what follows when a client wants to know
 * more than names. Each full listing uses that evidence up a little, so a wrong guess is noticed after some directories.
 */
const LISTINGS = 16

export class LookupAdvice {
  #listings = 0

  /** A client looked up a file that is no directory. */
  fileWasLookedUp(): void {
    this.#listings = LISTINGS
  }

  /** Whether names alone will do for the next listing. */
  get expectsNames(): boolean {
    return this.#listings === 0
  }

  /** Should the listing that begins now look entries up? */
  takeForListing(): boolean {
    if (this.#listings === 0) return false
    this.#listings--
    return true
  }
}
