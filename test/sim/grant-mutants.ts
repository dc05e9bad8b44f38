/** The simulation of the page cache with one step of the grants' protocol missing: what each of them is there for. */
import { instead, type Mutant, without } from './mutating.ts'

const EXCLUSION = 'cache/grants/exclusion'
const ENTRIES = 'cache/grants/exclusive-entries'
const TABLE = 'cache/grants/grant-table'
const CLAIMS = 'cache/grants/claims'
const KEEPER = 'cache/page-keeper'

export const GRANT_MUTANTS: readonly Mutant[] = [
  // ---- granted: nobody finds the pages
  instead(
    'a granted page that is still read from its home',
    EXCLUSION,
    'own?.add(from * PAGE_BYTES, to * PAGE_BYTES); const isTaken',
    'const isTaken',
  ),
  instead(
    'a granted page whose entry does not say so',
    EXCLUSION,
    'this.#pages.exclusive.make(mapping, from, to)',
    'true',
  ),
  without(
    'a first grant that nobody looks for',
    EXCLUSION,
    'Atomics.add(this.#mappings, mappingAt(each) + MAPPING.EXCLUSION, 2)',
  ),
  instead(
    'a granted page that stays cached',
    ENTRIES,
    'this.#keeper.drop(mapping, from, to); for (const each of this.#keeper.mappings.ofFile(mapping)) for',
    'for (const each of this.#keeper.mappings.ofFile(mapping)) for',
  ),
  instead(
    'a granted page that is forgotten with what is cached',
    KEEPER,
    'else if (kind === EntryKind.EXCLUSIVE) return',
    '',
  ),
  instead(
    'a granted page that is pruned',
    KEEPER,
    'ownsFrame(word) || entryKind(word) === EntryKind.EXCLUSIVE',
    'ownsFrame(word)',
  ),

  // ---- published: all or nothing
  instead('a publish that nobody hears of', EXCLUSION, 'Atomics.add(this.#mappings, at + MAPPING.EXCLUSION, 1)', ''),
  instead('a publish of other pages', EXCLUSION, 'Atomics.store(this.#mappings, at + MAPPING.PUBLISH_TO, to)', ''),
  without('a publish that does not end', EXCLUSION, 'Atomics.add(this.#mappings, at, 1)'),
  instead(
    'old pages that are found after a publish',
    EXCLUSION,
    'this.#pages.exclusive.end(mapping, from, to); this.#pages.drop(mapping, from, to)',
    'this.#pages.exclusive.end(mapping, from, to)',
  ),
  instead(
    'old pages that are found in a home after a publish',
    EXCLUSION,
    'own?.add(from * PAGE_BYTES, to * PAGE_BYTES); this.#pages.exclusive.end',
    'this.#pages.exclusive.end',
  ),

  // ---- reads past the cache
  instead(
    'a look at the file in the midst of a publish',
    EXCLUSION,
    'this.#isPublished(mapping, from, to)) {',
    'false) {',
  ),
  without(
    'a page that is somebody’s',
    EXCLUSION,
    'if (exclusion !== 0 && this.#isAnyExclusive(mapping, from, to)) return undefined',
  ),
  instead(
    'a publish that began while it was read',
    EXCLUSION,
    'if (this.#load(mapping, MAPPING.EXCLUSION) === exclusion) return result',
    'return result',
  ),

  // ---- the table
  without(
    'a grant while somebody is inside',
    TABLE,
    'for (const passage of file.inside) if (exclude(claim, passage)) return true',
  ),
  without('two grants of a page', TABLE, 'for (const grant of file.grants) if (exclude(claim, grant)) return true'),
  without(
    'a publish while somebody reads',
    TABLE,
    'if ([...file.inside].some((passage) => exclude(grant, passage))) continue',
  ),
  without('a reader in the midst of a publish', CLAIMS, 'if (isPublishing) return true'),
  instead(
    'a writer while readers read what was published last',
    CLAIMS,
    "(wish.writes || grant.readers === 'wait')",
    "grant.readers === 'wait'",
  ),
  instead(
    'nobody is woken when a reader leaves',
    TABLE,
    'this.#checkDrained(file); this.#wake(file); this.#call()',
    'this.#checkDrained(file); this.#call()',
  ),
  instead(
    'a publish that is not woken when a reader leaves',
    TABLE,
    'this.#checkDrained(file); this.#wake(file); this.#call()',
    'this.#wake(file); this.#call()',
  ),
  instead(
    'nobody is woken when a grant ends',
    TABLE,
    'this.#calls.push(claim.wish.onEnded); this.#wake(file)',
    'this.#calls.push(claim.wish.onEnded)',
  ),
  instead(
    'holders that wait for each other',
    TABLE,
    "this.#graph.closesCircle(claim) ? 'EDEADLK' : undefined",
    'undefined',
  ),
  instead(
    'a grant that is taken in the midst of its publish',
    TABLE,
    'this.counts.taken++; if (claim.isPublishing) claim.isDoomed = true; else this.#end(claim)',
    'this.counts.taken++; this.#end(claim)',
  ),
  without(
    'a holder that nobody asks',
    TABLE,
    'if (file.waiting.some((claim) => exclude(claim, grant))) this.revoke(grant, revokeMs)',
  ),
]
