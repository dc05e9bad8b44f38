/**
 * The proof of equality with one condition missing, over and over: what each of its lines is there for.
 *
 * mutation.test.ts sees to it that every line of proof.ts that decides something is in this list, and that the simulation notices each change.
 */
import { instead, type Mutant, without } from './mutating.ts'

const PROOF = 'homes/proof'
const STAMP = 'homes/home-storage'

const NEXT = 'Math.min(end, f1.end, h.end - shift, f2.end)'
const END_PAGE = 'equalTo === size ? Math.ceil(equalTo / PAGE_BYTES) : Math.floor(equalTo / PAGE_BYTES)'
const SAME_STAMP = 'return isSameCtime && before.size === now.size'
const SAME_STRETCH = 'if (last !== undefined && last.home === hint.home && last.shift === hint.shift) continue'

export const MUTANTS: readonly Mutant[] = [
  // ---- the window: the file had one content, and the stamp is this content's
  instead(
    'the file changes during the proof',
    PROOF,
    'return isSameStamp(this.stamp, await this.#storage.stamp(this.#file))',
    'return true',
  ),
  instead('a change of content', STAMP, SAME_STAMP, 'return before.size === now.size'),
  instead('a truncation whose ctime is still to come', STAMP, SAME_STAMP, 'return isSameCtime'),
  without(
    'two changes with the same coarse ctime',
    PROOF,
    'if (ageMs < rules.ctimeGranularityMs) return PrivateReason.JUST_CHANGED',
  ),
  without(
    'a write under way whose ctime is stamped already',
    PROOF,
    'if (isWritten === true) return PrivateReason.BEING_WRITTEN',
  ),
  without(
    'a write under way that nobody can see',
    PROOF,
    'if (isWritten === undefined && ageMs < rules.settleMs + rules.ctimeGranularityMs) return PrivateReason.JUST_CHANGED',
  ),
  instead(
    'a write under way that is a granule older than its ctime',
    PROOF,
    'rules.settleMs + rules.ctimeGranularityMs',
    'rules.settleMs',
  ),

  // ---- the sandwich: what an address says at one instant, said of another
  instead(
    'blocks reused between the looks at the file and at the home',
    PROOF,
    'return (await this.#storage.reuseCounter?.(this.#file)) === this.#reuseCounter',
    'return true',
  ),
  without('the same, with the answer ignored', PROOF, 'if (!(await window.blocksStayed())) return undefined'),
  instead(
    'the file leaves an address before the home comes there',
    PROOF,
    'const after = await storage.extents(file, 0, size, extentsMax)',
    'const after = before',
  ),
  instead('the home was never at that address', PROOF, 'sameBytes(f1, h) && sameBytes(f1, f2)', 'sameBytes(f1, f2)'),
  instead(
    'the file is elsewhere at the second look',
    PROOF,
    'sameBytes(f1, h) && sameBytes(f1, f2)',
    'sameBytes(f1, h)',
  ),
  instead('other addresses, other bytes', PROOF, 'return a.physical === b.physical', 'return true'),
  without(
    'addresses that mean nothing: compressed, inline',
    PROOF,
    'if (!(isShareable(a.flags) && isShareable(b.flags))) return false',
  ),
  instead(
    'a hole in the file, data in the home',
    PROOF,
    'if (a.isZero && b.isZero) return true',
    'if (a.isZero) return true',
  ),
  instead(
    'data in the file, a hole in the home',
    PROOF,
    'if (a.isZero && b.isZero) return true',
    'if (b.isZero) return true',
  ),
  without('holes in both are equal', PROOF, 'if (a.isZero && b.isZero) return true'),

  // ---- which bytes are spoken of
  instead(
    'runs that are not aligned to pages',
    PROOF,
    'hints.filter((hint) => hint.shift % PAGE_BYTES === 0)',
    'hints',
  ),
  instead(
    'neighbours in different homes',
    PROOF,
    SAME_STRETCH,
    'if (last !== undefined && last.shift === hint.shift) continue',
  ),
  instead(
    'neighbours from different offsets',
    PROOF,
    SAME_STRETCH,
    'if (last !== undefined && last.home === hint.home) continue',
  ),
  without('neighbours in the same home and from the same offset', PROOF, SAME_STRETCH),
  without(
    'a page proved twice',
    PROOF,
    'if (last !== undefined) stretches[stretches.length - 1] = { ...last, end: hint.start }',
  ),
  instead('what comes before the first hint', PROOF, 'start: last === undefined ? 0 : hint.start', 'start: hint.start'),
  instead('pages before the home begins', PROOF, 'Math.max(stretch.start, -stretch.shift)', 'stretch.start'),
  instead(
    'pages after the home ends',
    PROOF,
    'Math.min(stretch.end, stretch.home.size - stretch.shift)',
    'stretch.end',
  ),
  instead('a look at a part of the home (its beginning)', PROOF, 'Math.min(known[0], start + shift)', 'known[0]'),
  instead('a look at a part of the home (its end)', PROOF, 'Math.max(known[1], end + shift)', 'known[1]'),
  instead(
    'a first page of which only the end is equal',
    PROOF,
    'Math.ceil(equalFrom / PAGE_BYTES)',
    'Math.floor(equalFrom / PAGE_BYTES)',
  ),
  instead('a last page of which only the beginning is equal', PROOF, END_PAGE, 'Math.ceil(equalTo / PAGE_BYTES)'),
  instead('a last page that the file ends in', PROOF, END_PAGE, 'Math.floor(equalTo / PAGE_BYTES)'),
  without('less than a page', PROOF, 'if (endPage <= filePage) return'),
  instead('extents that end in the first look', PROOF, NEXT, 'Math.min(end, h.end - shift, f2.end)'),
  instead('extents that end in the home', PROOF, NEXT, 'Math.min(end, f1.end, f2.end)'),
  instead('extents that end in the second look', PROOF, NEXT, 'Math.min(end, f1.end, h.end - shift)'),

  // ---- what a list says of one byte
  instead(
    'a hole taken for the extent after it',
    PROOF,
    'at < list.count && list.logical[at] <= offset',
    'at < list.count',
  ),
  instead(
    'allocated, written, not on the device yet',
    PROOF,
    '(this.flags & ExtentFlag.UNWRITTEN) !== 0 && isAddressable(this.flags)',
    '(this.flags & ExtentFlag.UNWRITTEN) !== 0',
  ),
  instead(
    'data taken for zeros',
    PROOF,
    '(this.flags & ExtentFlag.UNWRITTEN) !== 0 && isAddressable(this.flags)',
    'isAddressable(this.flags)',
  ),
  instead(
    'a hole that ends where the file does',
    PROOF,
    'at < list.count ? list.logical[at] : Number.POSITIVE_INFINITY',
    'Number.POSITIVE_INFINITY',
  ),

  // ---- homes that moved
  without(
    'a home that is not where it was thought to be',
    PROOF,
    'if (!moved.has(hint.home) && !isStillAt(hint, extentsOfHome.get(hint.home))) moved.add(hint.home)',
  ),
  without('a home that has a hole there now', PROOF, 'if (cursor.isZero || !isAddressable(cursor.flags)) return false'),
  without('a home that is elsewhere', PROOF, 'if (cursor.physical !== hint.physical + (at - hint.start)) return false'),

  // ---- around the proof
  instead('dirty data reported at its old place', 'sim/sim-home-storage', 'this.#volume.flush(file)', 'void 0'),
  without(
    'a decision from before a write, shared with an open from after it',
    'homes/families',
    'if (!isSameStamp(decision.stamp, await this.#storage.stamp(file))) return this.serve(file)',
  ),
  without('the end of the window is not looked at', 'homes/families', 'if (!(await window.fileStayed())) return AGAIN'),
  instead('a home cloned while the file changed', 'homes/home-lives', 'if (await plan.window.fileStayed()) {', '{'),
  without(
    'a home that is being made or dropped',
    'homes/families',
    'if (found.unsettled.size > 0) return this.#waitFor(found)',
  ),
]
