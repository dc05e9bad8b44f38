/** What status takes for the files in a home: those that the kernel knows, however many, and no others. */
import { describe, expect, test } from 'vitest'
import { ARENA, type Run, RunMap } from '../../../src/cache/run-map.ts'
import { FilesInHomes } from '../../../src/daemon/files-in-homes.ts'
import { InodeKey, InodeTable, KIND_ONCE, SLOT } from '../../../src/daemon/inode-table.ts'
import type { HomeRef } from '../../../src/daemon/shared-state.ts'
import { SERVED } from '../../../src/daemon/slot-serving.ts'

const PAGE = 4096
const FILES = 300
/** Of ten pages of data each. */
const HOMES = [0, 1].map((number) => ({ number, generation: 1, dataBytes: 10 * PAGE }))

class Rig {
  readonly inodes = new InodeTable(InodeTable.allocate(FILES))
  readonly maps = new Map<number, { runs: RunMap; refs: HomeRef[] }>()
  readonly #files = new FilesInHomes(this.inodes, (map) => this.maps.get(map))
  readonly #key = new InodeKey()

  constructor() {
    // The root, which is never forgotten.
    this.inodes.acquire(this.#key, -1, 0, 0)
  }

  /** A file that the kernel knows, by its slot. */
  add(kind: number): number {
    this.#key.inoLow++
    const slot = this.inodes.acquire(this.#key, -1, 0, 0)
    this.inodes.set(slot, SLOT.KIND, kind)
    return slot
  }

  addPristine(home: number, generation = 1): number {
    const slot = this.add(SERVED.PRISTINE)
    this.inodes.set(slot, SLOT.HOME, home)
    this.inodes.set(slot, SLOT.HOME_GENERATION, generation)
    return slot
  }

  addMapped(runs: readonly Run[], pages: number, generation = 1): number {
    const slot = this.add(SERVED.MAPPED)
    const map = this.maps.size + 1
    const homes = new Set(runs.map(({ home }) => home).filter((home) => home !== ARENA))
    const refs = [...homes].map((number) => ({ number, generation }))
    this.maps.set(map, { runs: RunMap.build(runs, pages * PAGE), refs })
    this.inodes.set(slot, SLOT.MAP, map)
    return slot
  }

  counts(homes = HOMES): number[] {
    const counts = this.#files.count(homes)
    return homes.map(({ number }) => counts.get(number)!)
  }
}

describe('files in homes', () => {
  test('are counted however many there are', () => {
    const rig = new Rig()
    for (let i = 0; i < 201; i++) rig.addPristine(i % 2)
    expect(rig.counts()).toEqual([101, 100])
  })

  test('are none any more once the kernel has forgotten them, or they were decided anew', () => {
    const rig = new Rig()
    const [gone, decided] = [rig.addPristine(0), rig.addPristine(0)]
    rig.addPristine(0)
    expect(rig.counts()).toEqual([3, 0])
    expect(rig.inodes.forget(gone, 1)).toBe(true)
    rig.inodes.release(gone)
    rig.inodes.set(decided, SLOT.KIND, SERVED.PRIVATE)
    expect(rig.counts()).toEqual([1, 0])
  })

  test('are still there when nobody has them open and the next open is decided anew', () => {
    const rig = new Rig()
    for (const kind of [SERVED.PRISTINE, SERVED.PRISTINE | KIND_ONCE])
      rig.inodes.set(rig.addPristine(0), SLOT.KIND, kind)
    expect(rig.counts()).toEqual([2, 0])
  })

  test('are not those of a home that had the number before, or is gone', () => {
    const rig = new Rig()
    rig.addPristine(0)
    rig.addMapped([{ filePage: 0, pageCount: 10, home: 0, homePage: 0 }], 10)
    const second = { ...HOMES[0]!, generation: 2 }
    expect(rig.counts([second])).toEqual([0])
    rig.addPristine(0, 2)
    rig.addMapped([{ filePage: 0, pageCount: 10, home: 0, homePage: 0 }], 10, 2)
    expect(rig.counts([second])).toEqual([2])
    expect(rig.counts([])).toEqual([])
  })

  test('in part count as their part of each home', () => {
    const rig = new Rig()
    const runs = [
      { filePage: 0, pageCount: 3, home: 0, homePage: 0 },
      { filePage: 5, pageCount: 2, home: 1, homePage: 0 },
      { filePage: 8, pageCount: 2, home: 0, homePage: 7 },
    ]
    for (let i = 0; i < 2; i++) rig.addMapped(runs, 20)
    expect(rig.counts()).toEqual([1, 0.4])
    // Counted again, of what is known by now.
    expect(rig.counts()).toEqual([1, 0.4])
  })

  test('count once where they are sparse: their runs cover far more than the home has data', () => {
    const rig = new Rig()
    rig.addMapped([{ filePage: 0, pageCount: 10_000, home: 0, homePage: 0 }], 10_000)
    expect(rig.counts()).toEqual([1, 0])
    expect(rig.counts([{ ...HOMES[0]!, dataBytes: 0 }])).toEqual([0])
  })

  test('are none where they are held in the arena, or have lost their map', () => {
    const rig = new Rig()
    rig.addMapped([{ filePage: 0, pageCount: 3, home: ARENA, homePage: 0 }], 3)
    const lost = rig.addMapped([{ filePage: 0, pageCount: 3, home: 0, homePage: 0 }], 3)
    rig.maps.delete(rig.inodes.get(lost, SLOT.MAP))
    expect(rig.counts()).toEqual([0, 0])
  })
})
