/** The page cache with one step of its protocol missing, over and over: what each of them is there for. */
import { instead, type Mutant, without } from './mutating.ts'

const LOOKUP = 'cache/lookup'
const PINS = 'cache/pins'
const FRAMES = 'cache/frames'
const FREE = 'cache/free-frames'
const XARRAY = 'cache/xarray'
const KEEPER = 'cache/page-keeper'
const LOADS = 'cache/loads'
const MAPPINGS = 'cache/mappings'
const REPLICAS = 'cache/replicas'
const DIRECT = 'cache/direct-pages'
const DIRECT_READER = 'library/direct-reader'
const READER = 'library/page-reader'
const FILE = 'library/open-file'
const VIEWS = 'library/views'

/** What follows the check of an ordinary page; that of a replicated one goes on differently. */
const FOUND_PAGE = ') return NOTHING; this.generation = generation'

export const CACHE_MUTANTS: readonly Mutant[] = [
  // ---- validating what was found
  instead(
    'an entry of another file in a node that is used anew',
    LOOKUP,
    `frames[record + OWNER] !== mapping || frames[record + PAGE_OF_OWNER] !== page ${FOUND_PAGE}`,
    `frames[record + PAGE_OF_OWNER] !== page ${FOUND_PAGE}`,
  ),
  instead(
    'an entry of another page in a node that is used anew',
    LOOKUP,
    `|| frames[record + PAGE_OF_OWNER] !== page ${FOUND_PAGE}`,
    FOUND_PAGE,
  ),
  instead(
    'a frame given up while it was copied',
    LOOKUP,
    'return this.#load(this.#frames, frameAt(frame)) === generation',
    'return true',
  ),
  without(
    'loads of bytes that come after the second look at the generation',
    LOOKUP,
    'if (this.#needsFence) Atomics.add(this.#counters, COUNTER.FENCE, 0)',
  ),
  without('the second look is not asked for', READER, 'if (!this.lookup.isStill(frame, generation)) continue'),
  instead(
    'a view of a frame that was given up before it was pinned',
    VIEWS,
    'if (slot >= 0 && !reader.lookup.isStill(frame, generation)) {',
    'if (slot < -1) {',
  ),
  instead(
    'a view of one page: its frame was given up before it was pinned',
    VIEWS,
    'if (lookup.isStill(frame, generation) && lookup',
    'if (lookup',
  ),
  instead(
    'a view of one page: a home whose mapping is another by now',
    VIEWS,
    '&& lookup.layoutOf(layout.mapping) === layout.version',
    '',
  ),
  instead(
    'a home whose mapping is another by now: a read',
    FILE,
    'reader.lookup.layoutOf(layout.mapping) === layout.version ? done : 0',
    'done',
  ),
  instead(
    'a home whose mapping is another by now: a view',
    VIEWS,
    'if (reader.lookup.layoutOf(layout.mapping) === layout.version) return view',
    'return view',
  ),

  // ---- entries without an owner to ask
  instead(
    'a node taken out of the index on the way',
    LOOKUP,
    '|| Atomics.load(this.#counters, COUNTER.NODES_FREED) !== freed',
    '',
  ),
  without(
    'a way through what is no node any more',
    LOOKUP,
    'if (node >>> 0 >= nodes.length / NODE_WORDS) return NOTHING',
  ),
  without(
    'a short cut to a frame that was given up',
    LOOKUP,
    'if (Atomics.load(this.#frames, record) !== generation) return NOTHING',
  ),
  instead('a page of the file itself that is read from its home', READER, 'layout.own.has(page)', 'false'),

  // ---- pins
  instead(
    'a look at the generation before the pin',
    VIEWS,
    'const slot = pins.pin(frame); if (slot < 0) return undefined; if (lookup.isStill(frame, generation) && lookup',
    'if (!lookup.isStill(frame, generation)) return undefined; const slot = pins.pin(frame); if (slot < 0) return undefined; if (lookup',
  ),
  without('a pin that nobody sees', PINS, 'Atomics.store(this.#words, slot, frame + 1)'),
  instead(
    'a pin that is seen too late',
    PINS,
    'Atomics.store(this.#words, slot, frame + 1)',
    'this.#words[slot] = frame + 1',
  ),
  without('a slot that is not looked at', PINS, 'Atomics.store(this.#words, HIGH_WATER, slot)'),
  without('a view that is never let go', PINS, 'Atomics.store(this.#words, slot, 0)'),
  instead('pins of the dead', PINS, 'Atomics.store(this.#words, at + i, 0)', 'void 0'),
  without('what was pinned earlier', PINS, 'this.#number++'),
  without('a look at the wrong frame', PINS, 'if (word !== 0) this.#foundBy[word - 1] = this.#number'),
  instead(
    'pins that are looked at before the generation is stored',
    PINS,
    'const used = Atomics.load(this.#words, at + HIGH_WATER)',
    'const used = this.#words[at + HIGH_WATER]',
  ),

  // ---- frames
  without(
    'a generation that stays when the frame is given up',
    FRAMES,
    'Atomics.store(this.#words, at, nextGeneration(this.#words[at])); this.#states[frame] = FRAME_STATE.LIMBO',
  ),
  instead(
    'a frame that is given up, which is seen too late',
    FRAMES,
    'Atomics.store(this.#words, at, nextGeneration(this.#words[at])); this.#states[frame] = FRAME_STATE.LIMBO',
    'this.#words[at] = nextGeneration(this.#words[at]); this.#states[frame] = FRAME_STATE.LIMBO',
  ),
  without(
    'a generation that stays when the page is there',
    FRAMES,
    'this.#states[frame] = FRAME_STATE.RESIDENT; Atomics.store(this.#words, at, nextGeneration(this.#words[at]))',
  ),
  instead('no limbo: a frame that is pinned is free', FRAMES, 'if (this.#pinned.has(frame)) return true', ''),
  without('pins as they were when the keeper looked last', FRAMES, 'this.#pinned.look()'),
  without('a frame that is given out twice', FREE, 'this.#head = (this.#head + 1) % this.#ring.length; this.#count--'),
  instead(
    'frames in limbo that are not counted',
    FRAMES,
    'this.#used + this.#limbo.length + 1 - this.#limit',
    'this.#used + 1 - this.#limit',
  ),
  without('more frames than the limit allows', FRAMES, 'if (this.excess > 0) return NO_FRAME'),

  // ---- publishing and erasing
  without(
    'a node that is used anew, and nobody is told',
    XARRAY,
    'if (this.#freeCount > freeBefore) Atomics.add(this.#counters, COUNTER.NODES_FREED, 1)',
  ),
  without('a node whose index still leads to it', XARRAY, 'Atomics.store(this.#mappings, record + MAPPING.ROOT, 0)'),
  without('a node that is not empty when it is used anew', XARRAY, 'this.#nodes[at + 1] = 0'),
  without('a node that is full of nothing', XARRAY, 'if (--this.#present[node] > 0) return false'),
  without('a leaf for which no node is left', XARRAY, 'if (!this.hasRoomFor(mapping, page)) return -1'),
  without(
    'a higher index that does not lead to the lower one',
    XARRAY,
    'Atomics.store(this.#nodes, slotAt(above, 0, 0), rootNode(root))',
  ),

  // ---- the keeper
  without(
    'a page that was dropped while it was being loaded',
    LOADS,
    'this.#unlink(frame); this.#isCancelled[frame] = 1',
  ),
  without('a page that is loaded twice at once', KEEPER, 'if (frame !== NO_FRAME) this.#loads.begin(frame)'),
  without(
    'a dropped page that is still found',
    KEEPER,
    'this.#policy.remove(entryValue(word)); this.#giveUp(entryValue(word))',
  ),

  // ---- replicas
  instead(
    'a replica of what its home held before',
    LOOKUP,
    'this.#load(frames, record) !== generation || frames[record + OWNER] !== mapping || frames[record + PAGE_OF_OWNER] !== page ) return NOTHING; this.generation = replica',
    'false ) return NOTHING; this.generation = replica',
  ),
  without('a page whose replicas outlive it when it is dropped', KEEPER, 'this.replicas?.collapse(entryValue(word))'),
  instead(
    'a page whose replicas outlive it when it is evicted',
    KEEPER,
    'if (frame < 0) break; this.replicas?.collapse(frame)',
    'if (frame < 0) break',
  ),
  instead(
    'a page whose replicas outlive it when it is merged with its like',
    KEEPER,
    'this.replicas?.collapse(frame); const generation = frames.handOver',
    'const generation = frames.handOver',
  ),
  instead(
    'a replica that is found before it was copied',
    REPLICAS,
    'this.#copy(home, replica); const generation = frames.keep(replica)',
    'const generation = frames.keep(replica); queueMicrotask(() => this.#copy(home, replica))',
  ),
  without(
    'a replica that is given up, and its generation stays',
    REPLICAS,
    'frames.giveUp(replica); this.spare.delete(replica)',
  ),
  without('an entry of a replica that is left', REPLICAS, 'this.#index.erase(frames.mapping(replica), home)'),
  without(
    'a page that says it has replicas, and has none any more',
    REPLICAS,
    'if (this.#nodes[home] === 0) this.#mark(home, EntryKind.PAGE)',
  ),

  // ---- pages of devices
  without('loads from a device that come after the look at the layout', DIRECT_READER, 'this.#lookup.fence()'),
  without('a promoted page that was not copied', DIRECT, 'this.#copy(mapping, page, frame)'),
  instead(
    'a promoted page that is found before it was copied',
    DIRECT,
    'this.#copy(mapping, page, frame); this.#entries[2 * frame] = this.#index.get(mapping, page); this.#entries[2 * frame + 1] = this.#index.generation(mapping, page); this.#reads[frame] = 0; // There is an entry already, so there is room for it. this.#index.set(mapping, page, makeEntry(EntryKind.PAGE, frame), frames.keep(frame))',
    'this.#entries[2 * frame] = this.#index.get(mapping, page); this.#entries[2 * frame + 1] = this.#index.generation(mapping, page); this.#reads[frame] = 0; this.#index.set(mapping, page, makeEntry(EntryKind.PAGE, frame), frames.keep(frame)); this.#copy(mapping, page, frame)',
  ),
  without(
    "a promoted page whose frame is another page's, and its entry stays",
    DIRECT,
    'this.#index.set(mapping, page, this.#entries[2 * frame], this.#entries[2 * frame + 1])',
  ),
  without('a demoted page whose replicas are left', DIRECT, 'this.#keeper.replicas?.collapse(frame)'),
  instead(
    'a promoted page that is dropped as an ordinary one',
    KEEPER,
    'this.direct?.spare.has(entryValue(word))',
    'false',
  ),
  instead(
    'a promoted page that is merged, and goes as one that is nowhere else',
    KEEPER,
    'this.direct?.spare.has(frame) ||',
    '',
  ),

  // ---- mappings by node
  instead(
    'a page that other nodes still have when it is dropped',
    KEEPER,
    'for (const each of this.mappings.ofFile(mapping)) this.#drop(each, from, to)',
    'this.#drop(mapping, from, to)',
  ),
  instead(
    'a file of which other nodes do not hear that it is served in another way',
    MAPPINGS,
    'for (const each of this.ofFile(mapping)) version = this.#changeLayout(each)',
    'version = this.#changeLayout(mapping)',
  ),
]
