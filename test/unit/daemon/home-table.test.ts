/** The table of homes in shared memory: who may take a home, and that a number's next home starts with a true count. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { HomeTable } from '../../../src/daemon/home-table.ts'

test('a home is taken by number and generation, and not retired while it is', () => {
  const table = new HomeTable(HomeTable.allocate(4))
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

test('who comes for the last home of a number while the next one is published does not spoil its count', async () => {
  const buffer = HomeTable.allocate(1)
  const table = new HomeTable(buffer)
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
