/** What the keeper remembers of files that nobody has open is bounded, and decided anew where it went; who is interrupted does not wait. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { OwnPages } from '../../../src/cache/own-pages.ts'
import { RunMap } from '../../../src/cache/run-map.ts'
import { GrantedRanges } from '../../../src/daemon/grants/granted-ranges.ts'
import { InodeKey, InodeTable, SLOT } from '../../../src/daemon/inode-table.ts'
import { Keeper, type KeeperParts } from '../../../src/daemon/keeper.ts'
import { LockCounts } from '../../../src/daemon/locks/lock-counts.ts'
import { ServedOpens } from '../../../src/daemon/served-opens.ts'
import { SharedHomes } from '../../../src/daemon/shared-homes.ts'
import type { ServingOptions, ToWorker } from '../../../src/daemon/shared-state.ts'
import { SERVED, ServingState } from '../../../src/daemon/slot-serving.ts'
import { WarmFiles } from '../../../src/daemon/warm-files.ts'

type Parts = KeeperParts<never, never>

const MAPS_MAX = 10

let directory: string
let file: string
/** Takes answers. */
let fuseFd: number

beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-keeper-'))
  file = `${directory}/file`
  fs.writeFileSync(file, 'content')
  fuseFd = fs.openSync(`${directory}/answers`, 'w')
})

afterAll(() => {
  fs.closeSync(fuseFd)
  fs.rmSync(directory, { recursive: true })
})

/** A keeper of `files` inodes, all of the same file, which shares nothing by address and is held in an arena of as many content files. */
function keeperOf(files: number, contentsMax = files, serve?: () => Promise<unknown>) {
  const inodes = new InodeTable(InodeTable.allocate(files + 1))
  const key = new InodeKey()
  for (let i = 0; i <= files; i++) {
    key.inoLow = i + 1
    inodes.acquire(key, -1, 0, 0)
  }
  const serving = new ServingState(inodes)
  const homes = new SharedHomes(SharedHomes.allocate(1))
  const locks = new LockCounts(LockCounts.allocate())
  const warm = new WarmFiles(WarmFiles.allocate(1000), inodes, -1)
  const granted = new GrantedRanges(GrantedRanges.allocate(), inodes)
  const options = { minShareBytes: 1, merge: true, sharing: serve !== undefined, writable: true } as ServingOptions
  const told: ToWorker[] = []
  let contents = 0
  const keeper = new Keeper({
    inodes,
    serving,
    homes,
    locks,
    warm,
    granted,
    options,
    fuseFd,
    mapsMax: MAPS_MAX,
    contents: {
      take(key: string, _domain: unknown, _fd: unknown, state: unknown, makeRoom: () => boolean) {
        if (contents >= contentsMax && !(makeRoom() && contents < contentsMax)) return undefined
        contents++
        return { key, state, mapping: 1, version: 1 }
      },
      release: () => contents--,
    } as unknown as Parts['contents'],
    opened: undefined,
    direct: undefined,
    fileOf: (slot: number) => ({ key: String(slot), domain: 0 }) as never,
    toWorkers: (message) => told.push(message),
    familiesFor: () => ({ serve }) as never,
  } satisfies Parts)
  const maps = { homesOf: () => [], discard: () => {} }
  const opening = new ServedOpens({ inodes, serving, homes, options, maps, locks, warm, granted, fuseFd })
  const descriptors = new Map<number, number>()
  let unique = 0
  return {
    inodes,
    serving,
    homes,
    keeper,
    told,
    contents: () => contents,
    async open(slot: number): Promise<void> {
      const fd = fs.openSync(file, 'r')
      descriptors.set(slot, fd)
      keeper.receive({ type: 'open', slot, fd, flags: 0, fuseFd, uniqueLow: ++unique, uniqueHigh: 0 })
      while (keeper.waitingCount > 0) await setImmediate()
    },
    /** The last close. */
    close: (slot: number) => opening.release(slot, descriptors.get(slot)! + 1, 1, 0),
  }
}

describe('run maps', () => {
  test('of files that nobody has open go when there are too many, the oldest first; such a file is decided anew', async () => {
    const { keeper, open, close, inodes, serving, told, contents } = keeperOf(1000)
    for (let slot = 1; slot <= 1000; slot++) {
      await open(slot)
      if (slot > 3) close(slot)
      expect(keeper.maps.size).toBeLessThanOrEqual(MAPS_MAX)
      expect(contents()).toBe(keeper.maps.size)
    }
    for (const slot of [1, 2, 3]) {
      expect(serving.kind(slot)).toBe(SERVED.MAPPED)
      expect(keeper.maps.get(inodes.get(slot, SLOT.MAP))).toBeDefined()
    }
    // What workers have been told to know is what the keeper knows.
    const known = new Set<number>()
    for (const { type, map } of told) type === 'map' ? known.add(map) : known.delete(map)
    expect(known.size).toBe(keeper.maps.size)
    const gone = 4
    expect([serving.kind(gone), inodes.get(gone, SLOT.MAP)]).toEqual([SERVED.UNDECIDED, 0])
    await open(gone)
    expect(serving.kind(gone)).toBe(SERVED.MAPPED)
    expect(known.has(inodes.get(gone, SLOT.MAP))).toBe(false)
  })

  test('of files that are open stay, however many there are', async () => {
    const { keeper, open, close } = keeperOf(30)
    for (let slot = 1; slot <= 30; slot++) await open(slot)
    expect(keeper.maps.size).toBe(30)
    for (let slot = 1; slot <= 30; slot++) close(slot)
    // The next file that gets one finds too many.
    await open(1)
    expect(keeper.maps.size).toBeLessThan(MAPS_MAX)
  })

  test('are not waited for where somebody looks at their file', async () => {
    const { keeper, open, close, inodes } = keeperOf(30)
    const lock = inodes.lockOf(1)
    await open(1)
    close(1)
    lock.lock()
    for (let slot = 2; slot <= 30; slot++) {
      await open(slot)
      close(slot)
    }
    lock.unlock()
    expect(inodes.get(1, SLOT.MAP)).not.toBe(0)
    expect(keeper.maps.size).toBeLessThanOrEqual(MAPS_MAX)
  })

  test('give back their content files where all are in use', async () => {
    const { open, close, serving, contents } = keeperOf(9, 4)
    for (let slot = 1; slot <= 9; slot++) {
      await open(slot)
      expect(serving.kind(slot), `slot ${slot}`).toBe(SERVED.MAPPED)
      close(slot)
    }
    expect(contents()).toBeLessThanOrEqual(4)
  })
})

describe('a file for whose bitmap there is no memory', () => {
  /** What {@link file} is found to share with home 0. */
  async function shared() {
    const { ctimeNs, size } = fs.statSync(file, { bigint: true })
    const stamp = { ctimeSec: Number(ctimeNs / 10n ** 9n), ctimeNsec: Number(ctimeNs % 10n ** 9n), size: Number(size) }
    const home = { number: 0, generation: 1, state: 'live', file: { fd: fuseFd, isWriteProtected: false }, size: 4096 }
    const map = RunMap.build([{ filePage: 0, pageCount: 1, home: 0, homePage: 0 }], stamp.size)
    return { kind: 'diverged', map, homes: [home], stamp, remember: true, recheckAtMs: Number.POSITIVE_INFINITY }
  }

  async function withoutMemory(use: () => Promise<void>): Promise<void> {
    const allocate = vi.spyOn(OwnPages, 'allocate').mockImplementation(() => {
      throw new RangeError('Array buffer allocation failed')
    })
    await use().finally(() => allocate.mockRestore())
  }

  test.each([
    ['that lies in a home', shared],
    ['that is to be held in the arena', undefined],
  ])('%s is served by itself, this once, and holds nothing', async (_, serve) => {
    const { keeper, open, close, inodes, serving, homes, contents } = keeperOf(1, 1, serve)
    await withoutMemory(() => open(1))
    expect(serving.kind(1)).toBe(SERVED.PRIVATE)
    expect([inodes.get(1, SLOT.OPENS), inodes.get(1, SLOT.MAP)]).toEqual([1, 0])
    expect([homes.users(0), keeper.maps.size, contents()]).toEqual([0, 0, 0])
    close(1)
    await open(1)
    expect(serving.kind(1)).toBe(SERVED.MAPPED)
    expect([homes.users(0), keeper.maps.size]).toEqual([serve ? 1 : 0, 1])
  })
})

describe('a signal for who waits for a decision', () => {
  const interrupt = { type: 'interrupt', uniqueLow: 1, uniqueHigh: 0 } as const
  const never = () => new Promise<never>(() => {})

  test('opens the file as it is', async () => {
    const { keeper, open, serving } = keeperOf(1, 0, never)
    const opened = open(1)
    await setImmediate()
    expect(keeper.waitingCount).toBe(1)
    keeper.receive(interrupt)
    await opened
    expect(serving.kind(1)).toBe(SERVED.PRIVATE)
  })

  test('does so too where it comes before the question', async () => {
    const { keeper, open, serving } = keeperOf(1, 0, never)
    keeper.receive(interrupt)
    await open(1)
    expect(serving.kind(1)).toBe(SERVED.PRIVATE)
  })
})
