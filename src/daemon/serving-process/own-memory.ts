/** The memory that a mount has of its own, beside the kernel's: none, unless the options ask for some. Context: the keeper's thread. */
import { linuxNative } from '../../library/linux-native.ts'
import { movesCtime } from '../../linux/filesystem-kinds.ts'
import { ContentCache } from '../content/content-cache.ts'
import { MountArena } from '../content/mount-arena.ts'
import { DirectHomes } from '../dax/direct-homes.ts'
import type { ServingStart } from '../shared-state.ts'
import type { OpenedSource } from '../source.ts'

/** Each undefined where there is none. */
export interface OwnMemory {
  readonly arena: MountArena | undefined
  /** Files that are held in the arena for their content. */
  readonly contents: ContentCache | undefined
  /** Homes on DAX, read where they lie; the hot pages of them are held in the arena. */
  readonly direct: DirectHomes | undefined
}

/** Rejects with what the user or the system says against it. */
export async function makeOwnMemory(start: ServingStart, source: OpenedSource): Promise<OwnMemory> {
  if (start.merge !== undefined) checkMergeable(start, source)
  const arena = start.arena && new MountArena(start.arena)
  const contents = arena && start.merge && (await ContentCache.create(arena, start.merge))
  const direct = start.dax && new DirectHomes(start.dax, linuxNative, arena)
  return { arena, contents, direct }
}

/** Throws where no file of the source could be held in the arena for what it holds. */
function checkMergeable({ cross }: ServingStart, source: OpenedSource): void {
  const { kind } = source.filesystem
  if (cross || movesCtime(kind)) return
  throw new Error(
    `--merge cannot be had on ${kind}: it works on ext4, XFS and btrfs, where the time of change tells of every change`,
  )
}

/** Nobody may be reading, or loading. */
export async function closeOwnMemory({ arena, contents }: OwnMemory): Promise<void> {
  await contents?.close()
  arena?.close()
}
