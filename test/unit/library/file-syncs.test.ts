/** Syncs of one inode against a model of its disk: what was written before a sync was asked for is on the disk when it resolves, and each user hears of each loss once. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FileSyncs, type Heard, type SyncCall } from '../../../src/library/file-syncs.ts'

const FD = 7

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}

/** Whose calls take what was written when they begin, and are under way until the test lets them end. */
class TestDisk {
  readonly calls: ('data' | 'all')[] = []
  /** Versions of the file's bytes, and of the rest of the inode: written, and on the disk. */
  written = 0
  data = 0
  all = 0
  /** What the next call meets. */
  error: string | undefined
  readonly #end: () => Promise<unknown>
  #isBusy = false

  constructor(end: () => Promise<unknown>) {
    this.#end = end
  }

  readonly sync: SyncCall = async (fd, dataOnly) => {
    expect(fd).toBe(FD)
    expect(this.#isBusy, 'two at a time').toBe(false)
    this.#isBusy = true
    this.calls.push(dataOnly ? 'data' : 'all')
    const { written, error } = this
    this.error = undefined
    await this.#end()
    this.#isBusy = false
    if (error !== undefined) throw systemError(error)
    this.data = written
    if (!dataOnly) this.all = written
  }
}

/** Resolves with the code of what it rejects with. */
const codeOf = (sync: Promise<void>): Promise<string | undefined> =>
  sync.then(
    () => undefined,
    (error) => error.code,
  )

const USERS = 3
const step = fc.record({
  user: fc.nat(USERS),
  dataOnly: fc.boolean(),
  /** Before it: calls that end, and what the call that begins next meets. */
  ends: fc.nat(2),
  error: fc.option(fc.constantFrom('EIO', 'ENOSPC', 'EINTR'), { nil: undefined, freq: 4 }),
})

test('a sync stands for what was written before it was asked for; each loss is heard of by each user', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.array(step, { minLength: 1, maxLength: 30 }), async (scheduler, steps) => {
      const disk = new TestDisk(() => scheduler.schedule(Promise.resolve()))
      const syncs = new FileSyncs(disk.sync)
      const users: Heard[] = Array.from({ length: USERS }, () => syncs.heard())
      const isSettled: Promise<unknown>[] = []
      for (const { user, dataOnly, ends, error } of steps) {
        for (let i = 0; i < ends && scheduler.count() > 0; i++) await scheduler.waitOne()
        disk.error ??= error
        const version = ++disk.written
        // The last is no user, as what publishes.
        const sync = user === USERS ? syncs.write(FD, dataOnly) : syncs.sync(FD, dataOnly, users[user]!)
        isSettled.push(
          codeOf(sync).then((code) => {
            if (code === undefined) expect(dataOnly ? disk.data : disk.all).toBeGreaterThanOrEqual(version)
          }),
        )
      }
      await scheduler.waitFor(Promise.all(isSettled))
      // Who has heard of all so far hears nothing more, who has not hears it once.
      const total = syncs.heard().losses
      for (const user of users) {
        const isBehind = user.losses < total
        for (const expected of [isBehind, false]) {
          disk.error = undefined
          const code = await scheduler.waitFor(codeOf(syncs.sync(FD, true, user)))
          expect(['EIO', 'ENOSPC'].includes(code!)).toBe(expected)
        }
      }
    }),
  )
})

/** Calls that end when they are told to. */
function byHand() {
  const ends: (() => void)[] = []
  const disk = new TestDisk(() => new Promise<void>((resolve) => ends.push(resolve)))
  const syncs = new FileSyncs(disk.sync)
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  const endOne = async () => {
    await turn()
    ends.shift()!()
    await turn()
  }
  return { disk, syncs, endOne, turn }
}

test('who comes while a call is under way shares the next one', async () => {
  const { disk, syncs, endOne, turn } = byHand()
  let settled = 0
  const ask = (dataOnly: boolean) => void syncs.sync(FD, dataOnly, syncs.heard()).then(() => settled++)
  ask(true)
  await turn()
  for (let i = 0; i < 64; i++) ask(true)
  await endOne()
  expect({ settled, calls: disk.calls }).toEqual({ settled: 1, calls: ['data', 'data'] })
  await endOne()
  expect({ settled, calls: disk.calls }).toEqual({ settled: 65, calls: ['data', 'data'] })
})

test('a datasync shares a sync; a sync that comes to a datasync has it sync all', async () => {
  const { disk, syncs, endOne, turn } = byHand()
  const asked: Promise<void>[] = []
  const ask = (...dataOnly: boolean[]) => asked.push(...dataOnly.map((it) => syncs.write(FD, it)))
  ask(true)
  await turn()
  ask(false, true)
  await endOne()
  ask(true, false, true)
  await endOne()
  ask(true)
  await endOne()
  await endOne()
  await Promise.all(asked)
  expect(disk.calls).toEqual(['data', 'all', 'all', 'data'])
})

test('of a call that fails all who share it are told, each by an error of his own; of a loss the others, too, later', async () => {
  const { disk, syncs, endOne } = byHand()
  const [first, second, third] = [syncs.heard(), syncs.heard(), syncs.heard()]
  for (const [error, later] of [
    ['EINTR', undefined],
    ['EIO', 'EIO'],
  ] as const) {
    disk.error = error
    const failed = Promise.allSettled([
      syncs.sync(FD, true, first),
      syncs.sync(FD, true, second),
      syncs.write(FD, true),
    ])
    await endOne()
    const reasons = (await failed).map((it) => it.status === 'rejected' && it.reason)
    expect(reasons.map(({ code }) => code)).toEqual([error, error, error])
    expect(new Set(reasons).size).toBe(3)
    const heard: unknown[] = []
    for (const user of [first, second, third, third]) {
      const isTold = codeOf(syncs.sync(FD, true, user))
      await endOne()
      heard.push(await isTold)
    }
    expect(heard).toEqual([undefined, undefined, later, undefined])
  }
})
