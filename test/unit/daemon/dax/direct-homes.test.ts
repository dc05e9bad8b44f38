/** Homes that are read where they lie: which bytes a worker gets, what is promoted, and that nothing of a home is left when it is retired. */
import { expect, test } from 'vitest'
import { PAGE_BYTES } from '../../../../src/cache/entry.ts'
import { ContentReader } from '../../../../src/daemon/content/content-reader.ts'
import { MountArena } from '../../../../src/daemon/content/mount-arena.ts'
import { type DirectHome, DirectHomes } from '../../../../src/daemon/dax/direct-homes.ts'
import { DirectReads, PromotedReads } from '../../../../src/daemon/dax/direct-reads.ts'
import { linuxNative } from '../../../../src/library/linux-native.ts'
import type { Native } from '../../../../src/library/native.ts'
import { Windows } from '../../../../src/library/windows.ts'
import { ExtentList } from '../../../../src/storage/extents.ts'
import { Random } from '../../../support/random.ts'

const PAGES = 16
/** A window's segments are as long: a home reaches over three of them. */
const SEGMENT = 7 * PAGE_BYTES
const CAPACITY = 4 * SEGMENT

/** A device with a home for each descriptor: the byte of page p of descriptor d is d + p. Descriptors from 100 on are not on it, of those from 50 on nobody makes a window. */
class Device {
  readonly places: Uint8Array[][] = []
  readonly free: number[] = []
  /** By place, the descriptor that it shows. */
  readonly shown: number[] = []

  readonly native: Native = {
    ...linuxNative,
    isDax: (fd) => fd < 100,
    clonesKeepDax: () => true,
    windows: {
      open: (fd, bytes) => {
        if (fd >= 50) return undefined
        const place = this.free.pop() ?? this.places.push([0, 1, 2, 3].map(() => new Uint8Array(SEGMENT))) - 1
        this.shown[place] = fd
        for (let at = 0; at < bytes; at++) this.#set(place, at, fd + Math.floor(at / PAGE_BYTES))
        return { address: place, capacity: CAPACITY }
      },
      close: ({ address }) => {
        for (const segment of this.places[address]!) segment.fill(0)
        this.shown[address] = -1
        this.free.push(address)
      },
      view: ({ address }) => this.places[address]!,
    },
    readExtents: (_fd, start, length) =>
      ExtentList.from([{ logical: start, physical: 2 ** 30 + start, length, flags: 0 }]),
  }

  /** What lies on it is written over: whoever reads it from now on can be told from who has a copy. */
  overwrite(place: number, byte: number): void {
    for (const segment of this.places[place]!) segment.fill(byte)
  }

  #set(place: number, at: number, byte: number): void {
    this.places[place]![Math.floor(at / SEGMENT)]![at % SEGMENT] = byte
  }
}

function world(mode: 'auto' | 'direct') {
  const device = new Device()
  const arena = mode === 'auto' ? new MountArena({ memoryBytes: 64 * PAGE_BYTES }) : undefined
  const homes = new DirectHomes(mode, device.native, arena)
  const windows = new Windows(device.native.windows.view)
  const reads =
    arena === undefined
      ? new DirectReads(windows)
      : new PromotedReads(
          new ContentReader(arena.shared),
          (node, samples) => {
            homes.sampled(node, samples)
            arena.pages.checkInvariants()
          },
          windows,
        )
  const read = (home: DirectHome, position: number, length: number) => {
    const bytes = new Uint8Array(length)
    reads.pagesDirect = reads.bytesPromoted = 0
    expect(reads.covers(home, position, length)).toBe(true)
    reads.copy(home, position, bytes, length)
    return bytes
  }
  /** All of the home, until all of it has been promoted. */
  const heat = (home: DirectHome) => {
    for (let i = 0; i < 10_000; i++) {
      read(home, 0, PAGES * PAGE_BYTES)
      if (reads.pagesDirect === 0) return
    }
    throw new Error('it is not promoted')
  }
  return { device, homes, arena, reads, read, heat, [Symbol.dispose]: () => arena?.close() }
}

function expectHome(bytes: Uint8Array, fd: number, position: number, what = ''): void {
  for (let i = 0; i < bytes.length; i++)
    if (bytes[i] !== fd + Math.floor((position + i) / PAGE_BYTES))
      throw new Error(`${what}byte ${position + i} of home ${fd} is ${bytes[i]}`)
}

test.each(['auto', 'direct'] as const)('%s: bytes are those of the home, whatever range is read', (mode) => {
  using made = world(mode)
  const { homes, reads, read } = made
  const bytes = PAGES * PAGE_BYTES - 100
  const home = homes.of(3, 7, bytes)!
  const seed = Number(process.env.SAMEPAGE_SEED ?? Date.now() % 1e6)
  const random = new Random(seed)
  for (let i = 0; i < 4000; i++) {
    const position = random.below(bytes)
    const length = 1 + random.below(Math.min(bytes - position, random.below(4) === 0 ? bytes : 2 * PAGE_BYTES))
    expectHome(read(home, position, length), 7, position, `seed ${seed}: `)
    const touched = Math.floor((position + length - 1) / PAGE_BYTES) - Math.floor(position / PAGE_BYTES) + 1
    expect(reads.pagesDirect + reads.bytesPromoted / PAGE_BYTES, `seed ${seed}`).toBeLessThanOrEqual(touched)
    if (mode === 'direct') expect(reads.pagesDirect).toBe(touched)
  }
  // Behind its end the file system has to say what there is.
  expect(reads.covers(home, bytes - 10, 11)).toBe(false)
  expect(homes.statistics().promotions > 0).toBe(mode === 'auto')
})

test('what is read often is read from a copy, which all who read the home find', () => {
  using made = world('auto')
  const { device, homes, reads, read, heat } = made
  const home = homes.of(0, 20, PAGES * PAGE_BYTES)!
  heat(home)
  expect(homes.statistics()).toMatchObject({
    mode: 'auto',
    homes: 1,
    directPages: 0,
    promotedBytes: PAGES * PAGE_BYTES,
    promotions: PAGES,
    demotions: 0,
  })
  device.overwrite(home.window.address, 99)
  expectHome(read(homes.of(0, 20, PAGES * PAGE_BYTES)!, 100, 5 * PAGE_BYTES), 20, 100)
  expect(reads.bytesPromoted).toBe(5 * PAGE_BYTES)
})

test('nothing is left of a home that is retired: the next one of its number, in its place, has its own bytes', () => {
  using made = world('auto')
  const { device, homes, arena, read, heat } = made
  const samples: Int32Array[] = []
  for (let fd = 1; fd < 10; fd++) {
    const home = homes.of(5, fd, PAGES * PAGE_BYTES)!
    // What was noted of the one before comes late.
    for (const late of samples.splice(0)) homes.sampled(0, late)
    expectHome(read(home, 0, PAGES * PAGE_BYTES), fd, 0)
    heat(home)
    expectHome(read(home, 0, PAGES * PAGE_BYTES), fd, 0)
    samples.push(Int32Array.from({ length: 128 }, (_, i) => (i % 2 === 0 ? home.copies!.mapping : i % PAGES)))
    homes.retired(5)
    expect(device.shown).toEqual([-1])
    expect(homes.statistics()).toMatchObject({ homes: 0, directPages: 0, promotedBytes: 0 })
    arena!.pages.checkInvariants()
  }
})

test('homes elsewhere, and those of which no window can be had, are read with system calls', () => {
  using made = world('auto')
  const { homes, arena } = made
  for (let i = 0; i < 20_000; i++) {
    expect(homes.of(i % 8, i % 2 === 0 ? 100 : 50, PAGE_BYTES)).toBeUndefined()
    homes.retired(i % 8)
  }
  expect(arena!.pages.mappings.inUse.size).toBe(0)
  expect(homes.statistics()).toMatchObject({ homes: 0, directPages: 0 })
})

test('where no mapping is left a home is read where it lies all the same', () => {
  using made = world('auto')
  const { homes, arena, read, device } = made
  while (arena!.pages.mappings.create() >= 0) {}
  const home = homes.of(1, 9, PAGES * PAGE_BYTES)!
  expect(home.copies).toBeUndefined()
  expectHome(read(home, 10, 3 * PAGE_BYTES), 9, 10)
  homes.retired(1)
  expect(device.shown).toEqual([-1])
})
