/** A lock in shared memory: alone, and with real threads. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { SharedMutex } from '../../../src/util/shared-mutex.ts'
import { hammer, testSeed } from '../../support/hammer.ts'
import { describeWith } from '../../support/requires.ts'

test('the word says free, held, or held with somebody waiting', () => {
  const words = new Int32Array(new SharedArrayBuffer(16))
  const mutex = new SharedMutex(words, 2)
  mutex.lock()
  expect([...words]).toEqual([0, 0, 1, 0])
  mutex.unlock()
  expect([...words]).toEqual([0, 0, 0, 0])
})

test('a call has the lock while it runs, and gives it back also where it throws', () => {
  const words = new Int32Array(new SharedArrayBuffer(4))
  const mutex = new SharedMutex(words, 0)
  expect(mutex.locked(() => words[0])).toBe(1)
  expect(words[0]).toBe(0)
  const failing = () => {
    throw new Error(`held: ${words[0]}`)
  }
  expect(() => mutex.locked(failing)).toThrow('held: 1')
  expect(words[0]).toBe(0)
})

describeWith(['build'], 'threads', () => {
  test('one at a time is inside, and none is left waiting', async () => {
    const seed = testSeed()
    const memory = new SharedArrayBuffer(64)
    const words = new Int32Array(memory)
    const rounds = 20_000
    // Word 0: the lock. Word 4: a plain counter that only the lock protects. Word 8: how many are inside.
    await hammer({
      data: [memory, memory, memory, memory],
      imports: { 'util/shared-mutex.js': 'SharedMutex' },
      seed,
      body: `
        const words = new Int32Array(data)
        const mutex = new SharedMutex(words, 0)
        for (let i = 0; i < ${rounds}; i++) {
          mutex.lock()
          if (Atomics.add(words, 8, 1) !== 0) throw new Error('two are inside')
          const before = words[4]
          for (let wait = random(20); wait > 0; wait--);
          words[4] = before + 1
          Atomics.sub(words, 8, 1)
          mutex.unlock()
        }`,
    })
    expect(words[4], `seed ${seed}`).toBe(4 * rounds)
    expect(words[0]).toBe(0)
  })

  test('who finds it held sleeps until it is free', async () => {
    const memory = new SharedArrayBuffer(64)
    const words = new Int32Array(memory)
    const mutex = new SharedMutex(words, 0)
    mutex.lock()
    const waiting = hammer<string>({
      data: [memory, memory],
      imports: { 'util/shared-mutex.js': 'SharedMutex' },
      seed: 1,
      body: `
        const mutex = new SharedMutex(new Int32Array(data), 0)
        mutex.lock()
        mutex.unlock()
        return 'through'`,
    })
    while (Atomics.load(words, 0) !== 2) await sleep(5)
    await sleep(50)
    mutex.unlock()
    expect(await waiting).toEqual(['through', 'through'])
  })
})
