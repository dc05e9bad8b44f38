import { beforeEach, expect, test } from 'vitest'
import { AttachedCaches } from '../../../../src/daemon/grants/attached-caches.ts'
import type { GrantFile, GrantPeer } from '../../../../src/daemon/grants/grant-file.ts'
import type { GrantedRanges } from '../../../../src/daemon/grants/granted-ranges.ts'
import type { FromMount } from '../../../../src/exclusive/messages.ts'
import { VirtualTimers } from '../../../../src/sim/virtual-timers.ts'

class FakeConnection {
  readonly sent: FromMount[] = []
  readonly peer = { pid: 1, uid: 0, gid: 0 }
  isCaching = false

  send(message: FromMount): void {
    this.sent.push(message)
  }
}

const RANGE = { key: 'f', start: 0, end: 4096 }
let records: number
let shared: number
let timers: VirtualTimers
let caches: AttachedCaches

const connect = () => new FakeConnection() as FakeConnection & GrantPeer
function file(): GrantFile {
  shared++
  return { key: 'f', number: { fs: 0, inoLow: 1, inoHigh: 0 }, release: () => shared-- } as unknown as GrantFile
}

beforeEach(() => {
  timers = new VirtualTimers()
  records = shared = 0
  const granted = { addFile: () => ++records > 0, removeFile: () => records-- } as unknown as GrantedRanges
  caches = new AttachedCaches(granted, timers)
})

/** What a promise has resolved with by now. */
async function now<T>(promise: Promise<T>): Promise<T | 'pending'> {
  return Promise.race([promise, new Promise<'pending'>((resolve) => setImmediate(() => resolve('pending')))])
}

test('all who have the file open are waited for, and told when the grant has ended', async () => {
  const [a, b] = [connect(), connect()]
  for (const each of [a, b]) expect(caches.attend(each, 1, file())).toMatchObject({ id: 1 })
  expect(a.isCaching).toBe(true)
  const { recall, silent } = caches.recall(RANGE, 'wait')
  expect(a.sent).toEqual([{ type: 'recall', id: 1, turn: 1, file: 1, start: 0, end: 4096, readers: 'wait' }])
  caches.answered(a, recall.id, 1)
  expect(await now(silent)).toBe('pending')
  // Who comes meanwhile has nothing yet, but knows.
  const late = connect()
  caches.attend(late, 7, file())
  expect(late.sent).toHaveLength(1)
  caches.answered(b, recall.id, 1)
  expect(await now(silent)).toEqual([])
  recall.end()
  for (const each of [a, b, late]) expect(each.sent.at(-1)).toEqual({ type: 'restore', id: recall.id })
})

test('who is gone, or has closed the file, is not waited for; then nothing of the file is kept', async () => {
  const [a, b] = [connect(), connect()]
  for (const each of [a, b]) caches.attend(each, 1, file())
  const { silent } = caches.recall(RANGE, 'wait')
  caches.leave(a, 1)
  expect(await now(silent)).toBe('pending')
  caches.closed(b)
  expect(await now(silent)).toEqual([])
  expect([records, shared, caches.count]).toEqual([0, 0, 0])
})

test('who does not answer in time is named', async () => {
  const a = connect()
  caches.attend(a, 1, file())
  const { silent } = caches.recall(RANGE, 'wait')
  timers.pass(10_000)
  expect(await silent).toEqual([a])
})

test('an answer to an earlier question counts for nothing', async () => {
  const a = connect()
  caches.attend(a, 1, file())
  const { recall, silent } = caches.recall(RANGE, 'last-published')
  caches.answered(a, recall.id, 1)
  expect(await silent).toEqual([])
  const first = recall.askReaders()
  timers.pass(10_000)
  expect(await first).toEqual([a])
  recall.letReaders()
  const second = recall.askReaders()
  expect(a.sent.map((message) => 'turn' in message && message.turn)).toEqual([1, 2, 3, 4])
  caches.answered(a, recall.id, 2)
  caches.answered(a, recall.id, 3)
  let isAnswered = false
  void second.then(() => (isAnswered = true))
  timers.pass(9000)
  await now(second)
  expect(isAnswered).toBe(false)
  caches.answered(a, recall.id, 4)
  expect(await second).toEqual([])
})
