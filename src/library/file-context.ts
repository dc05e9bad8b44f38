/** What a thread's files need of its cache, made from what the cache's threads share. */
import { ExclusionReader } from '../cache/grants/exclusion.ts'
import { Lookup } from '../cache/lookup.ts'
import type { CacheMemory } from '../cache/memory.ts'
import { Pins } from '../cache/pins.ts'
import type { Shortcuts } from '../cache/shared-entries.ts'
import type { Arena } from './arena.ts'
import { DirectReader } from './direct-reader.ts'
import type { Door } from './door.ts'
import { Holder } from './grants/holder.ts'
import type { Native } from './native.ts'
import type { NearHandle } from './near-memory.ts'
import { NearReader } from './near-reader.ts'
import type { FileContext } from './open-file.ts'
import { NEEDS_FENCE, PageReader } from './page-reader.ts'
import { Windows } from './windows.ts'

export function contextOf(
  memory: CacheMemory,
  arena: Arena,
  native: Native | undefined,
  thread: number,
  door: Door,
  isDebug: boolean,
  { handle, near }: { readonly handle: NearHandle | undefined; readonly near: () => number },
  shortcuts?: Shortcuts,
): FileContext {
  const lookup = new Lookup(memory, NEEDS_FENCE)
  const replicaMappings = handle?.replicaMappings ?? []
  const send = (node: number, samples: Int32Array) => door.sampled(node, samples)
  const direct =
    native && new DirectReader(lookup, new Windows(native.windows.view), (samples) => door.sampledDirect(samples))
  const reader =
    replicaMappings.length > 0
      ? new NearReader(lookup, arena, { near, replicaMappings, send }, shortcuts, direct)
      : new PageReader(lookup, arena, shortcuts, direct)
  return {
    reader,
    pins: new Pins(memory, thread),
    exclusion: new ExclusionReader(memory),
    door,
    holder: new Holder(door),
    isDebug,
  }
}
