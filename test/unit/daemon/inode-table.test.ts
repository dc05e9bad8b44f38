/** The inodes that the kernel knows: random commands against a simple model, and threads that work on one table. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HANDLE_BYTES_MAX, InodeKey, InodeTable, KIND_ONCE, SLOT, SLOT_FLAG } from '../../../src/daemon/inode-table.ts'
import { hammer, testSeed } from '../../support/hammer.ts'
import { describeWith } from '../../support/requires.ts'

/** Inode `number` of a file system in its `life`-th life: numbers are used again, with another handle. */
interface Inode {
  fs: number
  number: number
  life: number
}

function keyOf({ fs, number, life }: Inode): InodeKey {
  const key = new InodeKey()
  key.fs = fs
  key.inoLow = number
  key.inoHigh = number >>> 1
  // Also one without a handle: then the number is all there is.
  key.handleSize = life === 0 ? 0 : 8 + life
  key.handle.fill(life, 0, key.handleSize)
  return key
}

const nameOf = ({ fs, number, life }: Inode) => `${fs}:${number}:${life}`
const numberOf = ({ fs, number }: Inode) => `${fs}:${number}`

/** What the kernel knows, as a map: everything that the table has to get right. */
class Model {
  readonly slots = new Map<
    number,
    { inode: Inode; lookups: number; opens: number; hashed: boolean; generation: number }
  >()
  readonly generations = new Map<number, number>()

  slotOf(inode: Inode): number | undefined {
    for (const [slot, known] of this.slots) if (known.hashed && nameOf(known.inode) === nameOf(inode)) return slot
    return undefined
  }
}

class Real {
  readonly table: InodeTable
  constructor(capacity: number) {
    this.table = new InodeTable(InodeTable.allocate(capacity))
    // The root, slot 0: it is never given up.
    this.table.acquire(keyOf({ fs: 0, number: 9999, life: 1 }), 3, 0, SLOT_FLAG.DIRECTORY)
  }
}

const CAPACITY = 12
type Command = fc.Command<Model, Real>

function command(
  name: string,
  run: (model: Model, real: Real) => void,
  check: (model: Model) => boolean = () => true,
): Command {
  return {
    check,
    run(model, real) {
      run(model, real)
      real.table.checkInvariants()
      expect(real.table.count).toBe(model.slots.size + 1)
      for (const [slot, { inode, lookups, opens, hashed }] of model.slots) {
        const { table } = real
        expect(table.isInUse(slot)).toBe(true)
        expect([table.get(slot, SLOT.LOOKUPS), table.get(slot, SLOT.OPENS)]).toEqual([lookups, opens])
        expect((table.get(slot, SLOT.FLAGS) & SLOT_FLAG.UNHASHED) === 0).toBe(hashed)
        expect([...table.handle(slot)]).toEqual([...keyOf(inode).handle.subarray(0, keyOf(inode).handleSize)])
        expect(table.find(keyOf(inode))).toBe(model.slotOf(inode) ?? -1)
      }
    },
    toString: () => name,
  }
}

function acquire(inode: Inode & { tenant: number }): Command {
  const domain = 2 ** 40 * inode.tenant + inode.number
  return command(`acquire ${nameOf(inode)} for ${inode.tenant}`, (model, { table }) => {
    const known = model.slotOf(inode)
    const before = known === undefined ? undefined : { domain: table.domain(known), kind: table.get(known, SLOT.KIND) }
    const slot = table.acquire(keyOf(inode), -1, domain, 0)
    if (slot >= 0) expect(table.domain(slot)).toBe(domain)
    if (known !== undefined) {
      expect([slot, table.created]).toEqual([known, false])
      model.slots.get(known)!.lookups++
      // What was decided for one tenant is not for the next.
      const kind = before!.domain === domain ? before!.kind : before!.kind | KIND_ONCE
      expect(table.get(slot, SLOT.KIND)).toBe(kind)
      return
    }
    // The number means another inode now, whoever had it.
    for (const other of model.slots.values()) if (numberOf(other.inode) === numberOf(inode)) other.hashed = false
    if (model.slots.size + 1 === CAPACITY) {
      expect(slot).toBe(-1)
      return
    }
    expect(table.created).toBe(true)
    expect(model.slots.has(slot)).toBe(false)
    const generation = table.get(slot, SLOT.GENERATION)
    expect(generation).toBe((model.generations.get(slot) ?? 0) + 1)
    model.generations.set(slot, generation)
    expect([table.get(slot, SLOT.KIND), table.get(slot, SLOT.MAP), table.get(slot, SLOT.PINS)]).toEqual([0, 0, 0])
    model.slots.set(slot, { inode, lookups: 1, opens: 0, hashed: true, generation })
  })
}

/** Picks one of the slots in use. */
function onSlot(name: string, pick: number, run: (slot: number, model: Model, real: Real) => void): Command {
  return command(
    `${name} of slot ${pick}`,
    (model, real) => run([...model.slots.keys()].sort((a, b) => a - b)[pick % model.slots.size]!, model, real),
    (model) => model.slots.size > 0,
  )
}

/** After a use was taken back: the slot is handed over exactly when nobody uses it any more. */
function afterUse(slot: number, isUnused: boolean, model: Model, { table }: Real): void {
  const { lookups, opens } = model.slots.get(slot)!
  expect(isUnused).toBe(lookups === 0 && opens === 0)
  if (!isUnused) return
  expect(table.isInUse(slot)).toBe(false)
  // Until it is given back, it is nobody else's.
  table.release(slot)
  model.slots.delete(slot)
}

const pick = fc.nat(30)
const commands: fc.Arbitrary<Command>[] = [
  fc.record({ fs: fc.nat(1), number: fc.nat(5), life: fc.nat(2), tenant: fc.nat(1) }).map(acquire),
  fc.tuple(pick, fc.integer({ min: 1, max: 4 })).map(([slot, count]) =>
    onSlot(`forget ${count}`, slot, (at, model, real) => {
      const known = model.slots.get(at)!
      // The kernel never forgets more than it was told; a table that is told so must not break.
      known.lookups = Math.max(0, known.lookups - count)
      afterUse(at, real.table.forget(at, count), model, real)
    }),
  ),
  pick.map((slot) =>
    onSlot('open', slot, (at, model, real) => {
      model.slots.get(at)!.opens++
      expect(real.table.countOpen(at, 1)).toBe(false)
    }),
  ),
  pick.map((slot) =>
    onSlot('close', slot, (at, model, real) => {
      const known = model.slots.get(at)!
      if (known.opens === 0) return
      known.opens--
      afterUse(at, real.table.countOpen(at, -1), model, real)
    }),
  ),
  pick.map((slot) =>
    onSlot('unhash', slot, (at, model, real) => {
      real.table.unhash(at)
      model.slots.get(at)!.hashed = false
    }),
  ),
]

describe('one thread', () => {
  test('does what a map would do, and keeps its invariants', () => {
    // Making a table takes 4 MiB of buckets.
    fc.assert(
      fc.property(fc.commands(commands, { maxCommands: 120 }), (steps) => {
        fc.modelRun(() => ({ model: new Model(), real: new Real(CAPACITY) }), steps)
      }),
      { numRuns: 60 },
    )
  })

  test('the descriptor of a removed directory stays with its slot, and with no other of that number', () => {
    const { table } = new Real(8)
    const inode = { fs: 0, number: 7, life: 1 }
    // Nobody knows it, or what had the number before.
    expect(table.keepRemoved(keyOf(inode), 40)).toBe(false)
    const slot = table.acquire(keyOf(inode), -1, 0, 0)
    expect(table.keepRemoved(keyOf({ ...inode, life: 2 }), 40)).toBe(false)
    expect([table.isRemoved(slot), table.get(slot, SLOT.FD)]).toEqual([false, -1])
    expect(table.keepRemoved(keyOf(inode), 41)).toBe(true)
    expect(table.keepRemoved(keyOf(inode), 42)).toBe(false)
    expect([table.isRemoved(slot), table.get(slot, SLOT.FD)]).toEqual([true, 41])
    expect(table.takeIdleDescriptor(slot)).toBe(-1)
    // A directory keeps the one that it has; others' can be taken.
    const directory = table.acquire(keyOf({ ...inode, number: 8 }), 50, 0, SLOT_FLAG.DIRECTORY)
    const other = table.acquire(keyOf({ ...inode, number: 9 }), 51, 0, SLOT_FLAG.DIRECTORY)
    expect(table.keepRemoved(keyOf({ ...inode, number: 8 }), 43)).toBe(false)
    expect([directory, other].map((one) => table.takeIdleDescriptor(one))).toEqual([-1, 51])
    // The slot's next inode starts anew.
    expect(table.forget(slot, 1)).toBe(true)
    table.release(slot)
    expect(table.acquire(keyOf({ ...inode, number: 10 }), -1, 0, 0)).toBe(slot)
    expect([table.isRemoved(slot), table.get(slot, SLOT.FD)]).toEqual([false, -1])
    table.checkInvariants()
  })

  test('the root stays, whatever is forgotten', () => {
    const { table } = new Real(4)
    expect(table.forget(0, 1)).toBe(false)
    expect(table.isInUse(0)).toBe(true)
    table.checkInvariants()
  })

  test('slots that were never used are not in use', () => {
    const { table } = new Real(4)
    for (const slot of [-1, 1, 3, 4, 2 ** 31]) expect(table.isInUse(slot), String(slot)).toBe(false)
  })

  test('a handle of the longest size is kept whole', () => {
    const { table } = new Real(4)
    const key = keyOf({ fs: 0, number: 1, life: 1 })
    key.handleSize = HANDLE_BYTES_MAX
    for (let i = 0; i < HANDLE_BYTES_MAX; i++) key.handle[i] = i + 1
    const slot = table.acquire(key, -1, 0, 0)
    expect([...table.handle(slot)]).toEqual([...key.handle])
    expect(table.acquire(key, -1, 0, 0)).toBe(slot)
    key.handle[HANDLE_BYTES_MAX - 1] = 0
    expect(table.find(key)).toBe(-1)
    expect(table.acquire(key, -1, 0, 0)).not.toBe(slot)
  })

  test('an idle descriptor is taken once, and not while it is pinned or the slot is another’s', () => {
    const { table } = new Real(4)
    const slot = table.acquire(keyOf({ fs: 0, number: 1, life: 1 }), 77, 0, SLOT_FLAG.DIRECTORY)
    table.set(slot, SLOT.PINS, 1)
    expect(table.takeIdleDescriptor(slot)).toBe(-1)
    table.set(slot, SLOT.PINS, 0)
    expect(table.takeIdleDescriptor(slot)).toBe(77)
    expect(table.takeIdleDescriptor(slot)).toBe(-1)
    const withoutHandle = table.acquire(keyOf({ fs: 0, number: 2, life: 0 }), 78, 0, SLOT_FLAG.DIRECTORY)
    expect(table.takeIdleDescriptor(withoutHandle)).toBe(-1)
    expect(table.takeIdleDescriptor(3)).toBe(-1)
  })

  test('the check finds what is wrong', () => {
    const broken = (breakIt: (table: InodeTable, slot: number) => void) => {
      const { table } = new Real(8)
      const slot = table.acquire(keyOf({ fs: 0, number: 1, life: 1 }), -1, 0, 0)
      table.acquire(keyOf({ fs: 0, number: 2, life: 1 }), -1, 0, 0)
      breakIt(table, slot)
      return () => table.checkInvariants()
    }
    expect(broken(() => {})).not.toThrow()
    expect(broken((table, slot) => table.set(slot, SLOT.LOOKUPS, 0))).toThrow('used by nobody')
    expect(broken((table, slot) => table.set(slot, SLOT.FLAGS, 0))).toThrow('not in use')
    expect(broken((table, slot) => table.set(slot, SLOT.INO_LOW, 77))).toThrow('belongs to')
    expect(broken((table, slot) => table.set(slot, SLOT.FLAGS, SLOT_FLAG.IN_USE | SLOT_FLAG.UNHASHED))).toThrow(
      'unhashed',
    )
  })
})

describeWith(['build'], 'threads', () => {
  test('that look up, open, close, replace and forget the same inodes lose none and share no slot', async () => {
    const seed = testSeed()
    const buffer = InodeTable.allocate(50_000)
    const table = new InodeTable(buffer)
    table.acquire(keyOf({ fs: 0, number: 9999, life: 1 }), 3, 0, SLOT_FLAG.DIRECTORY)
    const results = await hammer<{ freed: number; made: number }>({
      data: [buffer, buffer, buffer, buffer],
      imports: { 'daemon/inode-table.js': 'InodeTable, InodeKey, SLOT' },
      seed,
      body: `
        const table = new InodeTable(data)
        const key = new InodeKey()
        const held = []
        let freed = 0, made = 0
        const done = (slot, unused) => {
          if (!unused) return
          // The slot is this thread's alone now.
          if (table.isInUse(slot)) throw new Error('slot ' + slot + ' is in use again before it was given back')
          freed++
          table.release(slot)
        }
        for (let i = 0; i < 30_000; i++) {
          const what = random(10)
          if (what < 3 || held.length === 0) {
            const number = random(60), life = 1 + random(2)
            key.fs = 0; key.inoLow = number; key.inoHigh = 0; key.handleSize = 12
            key.handle.fill(life, 0, 12)
            const slot = table.acquire(key, -1, 0, 0)
            if (slot < 0) throw new Error('the table is full')
            if (table.created) made++
            // Held, so it cannot become another inode.
            if (table.get(slot, SLOT.INO_LOW) !== number || table.handle(slot)[11] !== life) throw new Error('slot ' + slot + ' is another inode')
            held.push({ slot, opens: 0, number, life })
            continue
          }
          const at = random(held.length)
          const use = held[at]
          if (table.get(use.slot, SLOT.INO_LOW) !== use.number || table.handle(use.slot)[0] !== use.life) throw new Error('a held slot changed')
          if (what === 3) { table.countOpen(use.slot, 1); use.opens++ }
          else if (what === 5 && use.opens > 0) { use.opens--; done(use.slot, table.countOpen(use.slot, -1)) }
          else if (what === 6) table.unhash(use.slot)
          else if (use.opens === 0) { held.splice(at, 1); done(use.slot, table.forget(use.slot, 1)) }
        }
        for (const use of held) {
          while (use.opens-- > 0) done(use.slot, table.countOpen(use.slot, -1))
          done(use.slot, table.forget(use.slot, 1))
        }
        return { freed, made }`,
    })
    table.checkInvariants()
    const sum = (field: 'freed' | 'made') => results.reduce((total, result) => total + result[field], 0)
    expect(table.count, `seed ${seed}`).toBe(1)
    expect(sum('freed')).toBe(sum('made'))
    expect(sum('made')).toBeGreaterThan(1000)
  })
})
