/** The table of homes in shared memory: who may take a home, and that a number's next home starts with a true count. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SharedHomes } from '../../../src/daemon/shared-homes.ts'

test('a home is taken by number and generation, and not retired while it is', () => {
  const table = new SharedHomes(SharedHomes.allocate(4))
  expect(table.acquire(2, 1)).toBe(false)
  table.publish(2, 1, 17, 5)
  expect([table.fd(2), table.backing(2), table.generation(2), table.users(2)]).toEqual([17, 5, 1, 0])
  expect(table.acquire(2, 2)).toBe(false)
  expect(table.acquire(2, 1)).toBe(true)
  expect(table.acquire(2, 1)).toBe(true)
  expect([table.users(2), table.taken(2)]).toEqual([2, 2])
  expect(table.retire(2)).toBe(false)
  table.release(2)
  table.release(2)
  expect(table.retire(2)).toBe(true)
  expect(table.retire(2)).toBe(false)
  expect(table.acquire(2, 1)).toBe(false)
  table.publish(2, 2, 18, 6)
  expect(table.acquire(2, 1)).toBe(false)
  expect(table.acquire(2, 2)).toBe(true)
})

test('does what a list of homes with their users would do, and keeps its invariants', () => {
  const step = fc.record({
    what: fc.constantFrom('publish', 'acquire', 'release', 'retire'),
    number: fc.nat(2),
    /** Who remembers a home remembers this one, or one from before. */
    age: fc.nat(1),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new SharedHomes(SharedHomes.allocate(3))
      const model = [0, 1, 2].map(() => ({ generation: 0, isThere: false, users: 0 }))
      for (const { what, number, age } of steps) {
        const home = model[number]!
        if (what === 'publish' && !home.isThere) {
          Object.assign(home, { generation: home.generation + 1, isThere: true })
          table.publish(number, home.generation, 10 + home.generation, number)
        } else if (what === 'acquire' && home.generation > age) {
          const isTaken = home.isThere && age === 0
          expect(table.acquire(number, home.generation - age)).toBe(isTaken)
          if (isTaken) home.users++
        } else if (what === 'release' && home.users > 0) {
          home.users--
          table.release(number)
        } else if (what === 'retire') {
          const isRetired = home.isThere && home.users === 0
          // A number that no home ever had is no business of the keeper's.
          if (home.generation > 0) expect(table.retire(number)).toBe(isRetired)
          if (isRetired) home.isThere = false
        }
        table.checkInvariants()
        if (!home.isThere) continue
        expect([table.users(number), table.generation(number)]).toEqual([home.users, home.generation])
        expect([table.fd(number), table.backing(number)]).toEqual([10 + home.generation, number])
      }
    }),
  )
})

test('the check finds what is wrong', () => {
  // Words of a record: users, generation, fd, backing.
  for (const [word, value] of [
    [0, -1],
    [1, 0],
    [2, -9],
    [3, -22],
  ] as const) {
    const buffer = SharedHomes.allocate(2)
    const table = new SharedHomes(buffer)
    table.publish(1, 1, 17, 0)
    table.acquire(1, 1)
    table.checkInvariants()
    new Int32Array(buffer)[8 + word] = value
    expect(() => table.checkInvariants()).toThrow('home table: 1 is wrong')
  }
})

test('who comes for the last home of a number while the next one is published does not spoil its count', async () => {
  const buffer = SharedHomes.allocate(1)
  const table = new SharedHomes(buffer)
  // What acquire() does where it fails: counts itself in, and out again.
  const late = new Worker(
    `const words = new Int32Array(require('node:worker_threads').workerData)
     for (;;) { Atomics.add(words, 0, 1); Atomics.sub(words, 0, 1) }`,
    { eval: true, workerData: buffer },
  )
  try {
    await new Promise((resolve) => late.once('online', resolve))
    await sleep(20)
    for (let generation = 1; generation <= 4_000; generation++) {
      table.publish(0, generation, 3, 0)
      expect(table.acquire(0, generation), `taken, users: ${table.users(0)}`).toBe(true)
      expect(table.retire(0), 'retired in use').toBe(false)
      table.release(0)
      let tries = 0
      while (!table.retire(0)) expect(++tries, `users: ${table.users(0)}`).toBeLessThan(1_000_000)
    }
  } finally {
    await late.terminate()
  }
})
