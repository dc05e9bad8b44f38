/** Nobody waits long for an unnamed file; what comes too late is closed; and one call at most waits in the kernel. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { UnnamedFiles } from '../../../src/homes/linux-unnamed-files.ts'
import { SystemError } from '../../../src/linux/errors.ts'

const PATIENCE_MS = 30
const NOT_NOW = { code: 'EAGAIN' }

/** A file system that makes files when it is told to. */
function frozen() {
  const waiting: ((error?: Error) => void)[] = []
  const closed: number[] = []
  let last = 100
  const pool = { promise: Promise.resolve() }
  /** Until the returned function is called. */
  const poolIsBusy = () => {
    let end!: () => void
    pool.promise = new Promise((resolve) => (end = resolve))
    return end
  }
  const files = new UnnamedFiles({
    open: () =>
      new Promise((resolve, reject) => {
        const fd = last++
        waiting.push((error) => (error === undefined ? resolve(fd) : reject(error)))
      }),
    close: async (fd) => closed.push(fd),
    poolIsThere: () => pool.promise,
    patienceMs: PATIENCE_MS,
  })
  return { files, waiting, closed, poolIsBusy }
}

test('one after the other, to who asked', async () => {
  const { files, waiting, closed } = frozen()
  const made = [files.make(), files.make(), files.make()]
  for (let i = 0; i < 3; i++) {
    await Promise.resolve().then(() => {})
    expect(waiting).toHaveLength(1)
    waiting.shift()!(i === 1 ? new SystemError(28, 'open') : undefined)
    await Promise.allSettled([made[i]])
    await sleep(0)
  }
  expect(await made[0]).toBe(100)
  await expect(made[1]).rejects.toMatchObject({ code: 'ENOSPC' })
  expect(await made[2]).toBe(102)
  expect(closed).toEqual([])
})

test('too late: who waits is told, who comes is told at once, one call waits, its file is closed, and all is well then', async () => {
  const { files, waiting, closed } = frozen()
  const made = [files.make(), files.make(), files.make()]
  for (const each of made) await expect(each).rejects.toMatchObject(NOT_NOW)
  const began = performance.now()
  for (let i = 0; i < 10; i++) await expect(files.make()).rejects.toMatchObject(NOT_NOW)
  expect(performance.now() - began).toBeLessThan(PATIENCE_MS)
  expect(waiting).toHaveLength(1)
  waiting.shift()!()
  await sleep(5)
  expect(closed).toEqual([100])
  const next = files.make()
  await sleep(5)
  expect(waiting).toHaveLength(1)
  waiting.shift()!()
  expect(await next).toBe(101)
  expect(closed).toEqual([100])
})

test('a busy pool is no frozen file system: nobody is sent away, however long it takes', async () => {
  const { files, waiting, poolIsBusy } = frozen()
  const end = poolIsBusy()
  const made = [files.make(), files.make(), files.make()]
  await sleep(3 * PATIENCE_MS)
  end()
  for (const [i, each] of made.entries()) {
    expect(waiting).toHaveLength(1)
    waiting.shift()!()
    expect(await each).toBe(100 + i)
    await sleep(0)
  }
})
