/**
 * How many of the files that the kernel knows lie in each home: natively each of them would be in memory on its own, until the kernel forgets it.
 *
 * Counted in the inode table. What homes remember of their files (homes/members.ts) would not do: that is a sample, and stays when files are deleted or forgotten.
 */
import type { RunMap } from '../cache/run-map.ts'
import type { Home } from '../homes/home.ts'
import { type InodeTable, SLOT } from './inode-table.ts'
import type { KnownMap } from './known-maps.ts'
import { SERVED, ServingState } from './slot-serving.ts'

type CountedHome = Pick<Home<unknown>, 'number' | 'generation' | 'dataBytes'>

export class FilesInHomes {
  readonly #inodes: InodeTable
  readonly #mapOf: (map: number) => Pick<KnownMap, 'runs' | 'refs'> | undefined
  /** Run maps do not change, and may have very many runs. */
  readonly #bytesByHome = new WeakMap<RunMap, ReadonlyMap<number, number>>()

  constructor(inodes: InodeTable, mapOf: (map: number) => Pick<KnownMap, 'runs' | 'refs'> | undefined) {
    this.#inodes = inodes
    this.#mapOf = mapOf
  }

  /** Files in each of `homes`, by its number; one that lies there in part counts as that part of the home's data. Looks at every slot. */
  count(homes: readonly CountedHome[]): ReadonlyMap<number, number> {
    const inodes = this.#inodes
    const serving = new ServingState(inodes)
    const byNumber = new Map(homes.map((home) => [home.number, home]))
    const counts = new Map(homes.map(({ number }) => [number, 0]))
    const add = (number: number, generation: number, partOf: (home: CountedHome) => number) => {
      const home = byNumber.get(number)
      // Else the home is gone, and its number is another's, or nobody's.
      if (home?.generation === generation) counts.set(number, counts.get(number)! + partOf(home))
    }
    for (let slot = 0; slot < inodes.highWater; slot++) {
      if (!inodes.isInUse(slot)) continue
      const kind = serving.kind(slot)
      if (kind === SERVED.PRISTINE) add(inodes.get(slot, SLOT.HOME), inodes.get(slot, SLOT.HOME_GENERATION), () => 1)
      if (kind !== SERVED.MAPPED) continue
      const map = this.#mapOf(inodes.get(slot, SLOT.MAP))
      // Of a file that is held in the arena there are no homes.
      for (const { number, generation } of map?.refs ?? [])
        add(number, generation, (home) => partOfData(this.#bytesIn(map!.runs, number), home))
    }
    return counts
  }

  #bytesIn(runs: RunMap, home: number): number {
    let bytes = this.#bytesByHome.get(runs)
    if (bytes === undefined) {
      bytes = runs.bytesByHome()
      this.#bytesByHome.set(runs, bytes)
    }
    return bytes.get(home) ?? 0
  }
}

/** Never more than all of it: runs also cover holes, which a sparse file has much more of than data. */
function partOfData(bytes: number, { dataBytes }: CountedHome): number {
  return dataBytes === 0 ? 0 : Math.min(1, bytes / dataBytes)
}
