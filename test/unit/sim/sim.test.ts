/** The simulation itself: what it simulates behaves as the real thing, and it finds what is wrong. */
import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/sim/random.ts'
import { Scheduler } from '../../../src/sim/scheduler.ts'
import { PROMISES, type SimFile, Volume } from '../../../src/sim/volume.ts'
import { ExtentList, isShareable } from '../../../src/storage/extents.ts'

const UNIT = 4096

function volume(name = 'xfs', granuleNs = 0): Volume {
  return new Volume(new Random(5), PROMISES.find((promises) => promises.name === name)!, UNIT, granuleNs)
}

function filled(on: Volume, name: string, ...values: number[]): SimFile {
  const file = on.create(name, values.length)
  for (const [unit, value] of values.entries()) on.writeDirect(file, unit, value)
  return file
}

function contents(on: Volume, file: SimFile): number[] {
  return Array.from({ length: on.unitCount(file) }, (_, unit) => on.value(file, unit))
}

function extents(on: Volume, file: SimFile): ExtentList {
  const list = new ExtentList()
  for (let unit = 0; unit < on.unitCount(file); unit++) on.extentOf(file, unit, 0, file.sizeBytes, list)
  return list
}

function address(on: Volume, file: SimFile, unit: number): number {
  return on.plainBlock(file, unit)!.address
}

describe('the simulated volume', () => {
  it('copies on write, and gives each file its own content', () => {
    const on = volume()
    const file = filled(on, 'file', 10, 20, 30)
    const clone = on.clone(file, 'clone', false)
    expect(extents(on, clone).equals(extents(on, file))).toBe(true)
    expect(extents(on, file).shareableBytes()).toBe(3 * UNIT)
    on.writeDirect(clone, 1, 99)
    expect(contents(on, file)).toEqual([10, 20, 30])
    expect(contents(on, clone)).toEqual([10, 99, 30])
    expect(
      extents(on, file)
        .toArray()
        .map(({ flags }) => isShareable(flags)),
    ).toEqual([true, false, true])
    on.checkInvariants()
  })

  it('reports dirty data at its old place until it is flushed', () => {
    const on = volume()
    const file = filled(on, 'file', 10, 20)
    const clone = on.clone(file, 'clone', false)
    on.writeCached(clone, 0, 99)
    expect(contents(on, clone)).toEqual([99, 20])
    expect(extents(on, clone).equals(extents(on, file))).toBe(true)
    on.flush(clone)
    expect(extents(on, clone).equals(extents(on, file))).toBe(false)
    expect(contents(on, clone)).toEqual([99, 20])
  })

  it('moves blocks without a new ctime or content, and reuses what is freed', () => {
    const on = volume()
    const file = filled(on, 'file', 10, 20)
    const before = { ctime: file.ctimeNs, place: address(on, file, 0) }
    on.moveUnit(file, 0)
    expect(file.ctimeNs).toBe(before.ctime)
    expect(contents(on, file)).toEqual([10, 20])
    expect(address(on, file, 0)).not.toBe(before.place)
    // The first writer that comes along may get the place.
    const others = Array.from({ length: 5 }, (_, i) => filled(on, `other ${i}`, 77))
    expect(others.map((other) => address(on, other, 0))).toContain(before.place)
    on.checkInvariants()
  })

  it('keeps its promises: reuse after a commit only, homes that stay, files that do not return', () => {
    const btrfs = volume('btrfs')
    const file = filled(btrfs, 'file', 10)
    const place = address(btrfs, file, 0)
    btrfs.moveUnit(file, 0)
    expect(btrfs.relocate(btrfs.plainBlock(file, 0)!, place)).toBe(false)
    const counter = btrfs.reuseCounter
    btrfs.commit()
    expect(btrfs.reuseCounter).not.toBe(counter)
    expect(btrfs.relocate(btrfs.plainBlock(file, 0)!, place)).toBe(true)

    const xfs = volume('xfs')
    const home = xfs.clone(filled(xfs, 'file', 10), 'home', true)
    const stays = address(xfs, home, 0)
    xfs.moveUnit(home, 0)
    expect(xfs.relocate(xfs.plainBlock(home, 0)!)).toBe(false)
    expect(address(xfs, home, 0)).toBe(stays)

    const neither = volume('neither')
    const other = filled(neither, 'file', 10)
    const left = address(neither, other, 0)
    neither.moveUnit(other, 0)
    expect(neither.relocate(neither.plainBlock(other, 0)!, left)).toBe(false)
  })

  it('deduplicates equal contents only', () => {
    const on = volume()
    const [a, b] = [filled(on, 'a', 10, 20), filled(on, 'b', 10, 30)]
    expect(on.dedupe(a, 1, b, 1)).toBe(false)
    expect(on.dedupe(a, 0, b, 0)).toBe(true)
    expect(address(on, a, 0)).toBe(address(on, b, 0))
    on.checkInvariants()
  })

  it('stamps coarse ctimes alike within a granule, fine ones never', () => {
    const coarse = volume('xfs', 20e6)
    const file = filled(coarse, 'file', 10)
    const stamps = [0, 5e6, 20e6].map((passed) => {
      coarse.nowNs = 1e15 + passed
      coarse.stampCtime(file)
      return file.ctimeNs
    })
    expect(stamps).toEqual([1e15, 1e15, 1e15 + 20e6])
    const fine = volume('xfs')
    const other = filled(fine, 'file', 10)
    const first = other.ctimeNs
    fine.stampCtime(other)
    expect(other.ctimeNs).toBeGreaterThan(first)
  })

  it('remembers what every unit held, and when', () => {
    const on = volume()
    const file = filled(on, 'file', 10)
    on.step = 5
    on.writeCached(file, 0, 20)
    on.step = 9
    on.setSize(file, 0)
    expect([10, 20, 30].map((value) => on.held(file, 0, value, 4))).toEqual([true, true, false])
    expect(on.held(file, 0, 10, 6)).toBe(false)
    expect(on.held(file, 0, 20, 6)).toBe(true)
    expect([3, 5, 8].map((step) => on.valueAt(file, 0, step))).toEqual([10, 20, 20])
    expect([UNIT, 0].map((size) => on.hadSize(file, size, 10))).toEqual([false, true])
  })

  it('notices that a home has changed', () => {
    const on = volume()
    const home = on.clone(filled(on, 'file', 10), 'home', true)
    on.checkInvariants()
    on.writeCached(home, 0, 11)
    expect(() => on.checkInvariants()).toThrow(/home held 10, now 11/)
  })
})

describe('the scheduler', () => {
  async function order(seed: number): Promise<string> {
    const scheduler = new Scheduler(new Random(seed))
    let trace = ''
    for (const name of ['a', 'b', 'c']) {
      scheduler.start(async () => {
        for (let i = 0; i < 4; i++) {
          trace += name
          await scheduler.pause()
        }
      })
    }
    await scheduler.run(() => {})
    return trace
  }

  it('interleaves actors as the seed says', async () => {
    expect(await order(1)).toBe(await order(1))
    const orders = new Set(await Promise.all(Array.from({ length: 20 }, (_, seed) => order(seed))))
    expect(orders.size).toBeGreaterThan(15)
    for (const trace of orders) expect([...trace].sort().join('')).toBe('aaaabbbbcccc')
  })

  it('throws what an actor throws', async () => {
    const scheduler = new Scheduler(new Random(1))
    scheduler.start(() => Promise.reject(new Error('oops')))
    await expect(scheduler.run(() => {})).rejects.toThrow('oops')
  })

  it('notices when nobody can go on', async () => {
    const scheduler = new Scheduler(new Random(1))
    scheduler.start(() => new Promise(() => {}))
    await expect(scheduler.run(() => {})).rejects.toThrow('all actors wait for each other')
  })
})
