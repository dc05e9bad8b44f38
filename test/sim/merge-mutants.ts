/** Merging with one step of its protocol missing, over and over: what each of them is there for. */
import { instead, type Mutant, without } from './mutating.ts'

const FRAMES = 'cache/frames'
const FREE = 'cache/free-frames'
const KEEPER = 'cache/page-keeper'
const MERGED = 'cache/merge/merged-pages'

export const MERGE_MUTANTS: readonly Mutant[] = [
  // ---- who may be merged
  instead(
    'pages of equal hash that are not equal',
    MERGED,
    'this.#bytes.isEqual(candidate, frame)',
    'candidate !== frame',
  ),
  instead(
    'pages of two domains',
    MERGED,
    'return this.#keeper.mappings.domainOf(this.#keeper.frames.mapping(frame))',
    'return 0',
  ),
  without('a candidate whose frame was given up', MERGED, 'this.#index.remove(frame)'),
  instead(
    'a candidate that is still being loaded, or is in no use',
    MERGED,
    'if (!this.#keeper.holdsPage(frame) || this.#index.has(frame)) return',
    'if (this.#index.has(frame)) return',
  ),
  instead(
    'a page that was dropped while it was being loaded',
    KEEPER,
    'if (isCurrent && this.#set(mapping, page, EntryKind.SHARED, shared, this.frames.generation(shared))) return true',
    'if (this.#set(mapping, page, EntryKind.SHARED, shared, this.frames.generation(shared))) return true',
  ),
  instead(
    'a page that is in the index of content, and was never published',
    MERGED,
    'if (isPublished) this.#index.add(frame, hash, domain)',
    'this.#index.add(frame, hash, domain)',
  ),

  // ---- one owner
  instead(
    'a merged page that is still its first owner’s',
    FRAMES,
    'this.#words[at + FRAME.MAPPING] = mapping; this.#words[at + FRAME.PAGE] = page; Atomics',
    'Atomics',
  ),
  without(
    'an owner whose entry says that the page is still its own',
    KEEPER,
    'this.#index.set(mapping, page, makeEntry(EntryKind.SHARED, frame), generation)',
  ),
  without(
    'a content mapping that does not know its page',
    KEEPER,
    'this.#index.set(content, frame, makeEntry(EntryKind.PAGE, frame), generation)',
  ),
  without(
    'a merged page for whose entry no node is left',
    KEEPER,
    'if (!this.#index.hasRoomFor(content, frame)) return false',
  ),
  without(
    'a shadow under a merged page that is counted for ever',
    KEEPER,
    'this.#shadows.gone(this.#index.get(content, frame))',
  ),

  // ---- what was merged into another
  without(
    'a frame that is kept though its page was merged',
    KEEPER,
    'this.#policy.remove(frame); this.#giveUp(frame); this.#fitLimit()',
  ),
  instead(
    'a page that was merged, and is still to be evicted',
    KEEPER,
    'this.#policy.remove(frame); this.#giveUp(frame); this.#fitLimit()',
    'this.#giveUp(frame); this.#fitLimit()',
  ),
  instead(
    'an entry that leads to what was merged before',
    KEEPER,
    'this.#index.set(frames.mapping(frame), frames.page(frame), makeEntry(EntryKind.SHARED, shared), frames.generation(shared))',
    'this.#index.set(frames.mapping(frame), frames.page(frame), makeEntry(EntryKind.SHARED, shared), frames.generation(frame))',
  ),

  // ---- who leads there
  without('a sharer that is not counted', MERGED, 'this.#sharers[mate]++; this.#entries++'),
  without('a merged page that nobody shares any more', MERGED, 'this.#keeper.dropShared(frame)'),
  instead(
    'a sharer that had lost its page already',
    KEEPER,
    'if (this.#isCurrent(word, generation) && this.isMerged(frame))',
    'if (this.isMerged(frame))',
  ),
  instead(
    'a short cut to a home’s page, which is no sharer',
    KEEPER,
    'if (this.#isCurrent(word, generation) && this.isMerged(frame))',
    'if (this.#isCurrent(word, generation))',
  ),
  without('a short cut to a merged page, which is none either', KEEPER, 'if (this.isMerged(frame)) return'),
  instead('sharers of a page that was evicted', MERGED, 'this.#sharers[frame] = 0', 'void 0'),
  instead(
    'a sharer whose page was evicted is taken to have it',
    KEEPER,
    'return this.#isCurrent(word, this.#index.generation(mapping, page))',
    'return true',
  ),
  instead(
    'a sharer that could not be published',
    MERGED,
    'if (!isPublished && frames.generation(mate) === generation) this.unshared(mate)',
    '',
  ),

  // ---- frames that were loaded in vain
  instead('a frame that was free twice', FREE, 'this.#putBack.shift()', 'this.#putBack[0]'),

  // ---- beside replicas
  instead(
    'a replica that is taken for a page',
    'cache/page-keeper',
    '|| this.replicas?.mappings.includes(frames.mapping(frame))',
    '',
  ),
]
