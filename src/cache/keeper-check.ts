/** Holds the entries of all mappings against the frames that they name: what tests ask of the keeper after every step. */
import { entryKind, entryValue } from '../layout/entry-word.ts'
import { PAGES_MAX } from '../layout/mapping-record.ts'
import type { DirectPages } from './direct-pages.ts'
import { EntryKind, ownsFrame } from './entry.ts'
import { FRAME_STATE, type Frames } from './frames.ts'
import type { Replicas } from './replicas.ts'
import type { XArray } from './xarray.ts'

/** How many pages, shadows and direct entries there are. Throws where an entry names a frame that is not its page's. */
export function countEntries(
  index: XArray,
  mappings: Iterable<number>,
  frames: Frames,
  replicas: Replicas | undefined,
  directPages: DirectPages | undefined,
): { readonly resident: number; readonly shadows: number; readonly direct: number } {
  let resident = 0
  let shadows = 0
  let direct = 0
  for (const mapping of mappings)
    index.each(mapping, 0, PAGES_MAX, (page, word, generation) => {
      if (entryKind(word) === EntryKind.SHADOW) shadows++
      if (entryKind(word) === EntryKind.DIRECT) direct++
      // Replicas and promoted pages have their own checks.
      if (!ownsFrame(word) || replicas?.mappings.includes(mapping) || directPages?.spare.has(entryValue(word))) return
      resident++
      const frame = entryValue(word)
      const isSound =
        frames.state(frame) === FRAME_STATE.RESIDENT &&
        frames.mapping(frame) === mapping &&
        frames.page(frame) === page &&
        frames.generation(frame) === generation &&
        (entryKind(word) === EntryKind.REPLICATED) === (replicas?.isReplicated(frame) === true)
      if (!isSound) throw new Error(`page ${page} of mapping ${mapping} is not in frame ${frame}`)
    })
  return { resident, shadows, direct }
}
