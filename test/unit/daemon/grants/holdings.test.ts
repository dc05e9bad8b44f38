import { beforeEach, expect, test } from 'vitest'
import { GrantTable } from '../../../../src/cache/grants/grant-table.ts'
import type { GrantFile, GrantPeer } from '../../../../src/daemon/grants/grant-file.ts'
import { GrantedRanges } from '../../../../src/daemon/grants/granted-ranges.ts'
import { Holdings } from '../../../../src/daemon/grants/holdings.ts'
import { SLOT } from '../../../../src/daemon/inode-table.ts'
import type { FromMount } from '../../../../src/exclusive/messages.ts'
import { VirtualTimers } from '../../../../src/sim/virtual-timers.ts'

const SIZE = 16 * 4096

class FakeConnection {
  readonly sent: FromMount[] = []
  readonly peer: { readonly pid: number; readonly uid: number; readonly gid: number }
  readonly key: string
  isCaching = false
  isCut = false

  constructor(uid: number, key: string) {
    this.peer = { pid: 1, uid, gid: uid }
    this.key = key
  }

  send(message: FromMount): void {
    if (!this.isCut) this.sent.push(message)
  }

  cutOff(): void {
    this.isCut = true
  }

  catchUp(): void {}
}

let holdings: Holdings
let granted: GrantedRanges
let connections: number
/** Users of files. */
let shared: number
/** What becomes of a publish. */
let publish: () => number
/** What {@link GrantFile.inTheWay} of files answers. */
let inTheWay: () => Promise<undefined>
/** How often the kernel was to believe nothing any more. */
let forgotten: number
/** What {@link Holdings} waits for before it answers who attends. */
let answered: Promise<void>

beforeEach(() => {
  connections = shared = forgotten = 0
  publish = () => 0
  inTheWay = async () => undefined
  answered = Promise.resolve()
  granted = new GrantedRanges(GrantedRanges.allocate(), { get: (slot, field) => (field === SLOT.INO_LOW ? slot : 0) })
  const timers = new VirtualTimers()
  holdings = new Holdings({
    table: new GrantTable(timers),
    timers,
    granted,
    answered: () => answered,
  })
})

const connect = (uid = 1000) => new FakeConnection(uid, `${++connections}`) as FakeConnection & GrantPeer

/** Of the files 'f', 'f1', 'f2', … */
const slotOf = (key: string) => Number(key.slice(1))

function file(key: string): GrantFile {
  shared++
  return {
    key,
    number: { fs: 0, inoLow: slotOf(key), inoHigh: 0 },
    path: key,
    size: () => SIZE,
    share: () => file(key),
    release: () => shared--,
    inTheWay,
    copy: (start: number, length: number) => ({ start, length, memory: 0, publish: () => publish(), close: () => {} }),
    forgetCopies: async () => void forgotten++,
  } as unknown as GrantFile
}

const soon = () => new Promise((resolve) => setImmediate(resolve))

/** Shows a file, and attends it. */
function attend(connection: GrantPeer, id: number, key: string): void {
  holdings.show(connection, file(key), false)
  holdings.message(connection, { type: 'attend', id })
}

test('a file is attended once: whoever says so under name after name is cut off', async () => {
  const [greedy, other] = [connect(), connect()]
  for (const each of [greedy, other]) attend(each, 1, 'f')
  attend(greedy, 2, 'f')
  expect([greedy.isCut, other.isCut]).toEqual([true, false])
  // Left, it may be attended again.
  holdings.message(other, { type: 'leave', id: 1 })
  attend(other, 2, 'f')
  await soon()
  expect(other.sent.map(({ type }) => type)).toEqual(['attended', 'attended'])
  for (const each of [greedy, other]) holdings.closed(each)
  expect(shared).toBe(0)
})

/** Attends files f`first`, … as often as a connection may, and waits for the answers. */
async function attendMany(connection: FakeConnection & GrantPeer, first: number): Promise<void> {
  for (let i = 0; i < 8192; i++) attend(connection, i, `f${first + i}`)
  await soon()
  expect(connection.sent.filter(({ type }) => type === 'attended')).toHaveLength(8192)
}

const FULL = expect.objectContaining({ type: 'refused', id: 9000, code: 'ENFILE' })

test('one user cannot have files without end, by however many connections; root and others can go on', async () => {
  const mine: (FakeConnection & GrantPeer)[] = []
  for (let i = 0; i < 8; i++) {
    mine.push(connect())
    await attendMany(mine[i]!, 1 + i * 8192)
  }
  expect(granted.hasFile(1 + 7 * 8192)).toBe(true)
  const [late, other, root] = [connect(), connect(1001), connect(0)]
  for (const each of [late, other, root]) attend(each, 9000, 'f70000')
  // One that the user has already is none more.
  attend(late, 9001, 'f1')
  await soon()
  expect([late, other, root].map(({ sent }) => sent)).toEqual([
    [FULL, { type: 'attended', id: 9001 }],
    [{ type: 'attended', id: 9000 }],
    [{ type: 'attended', id: 9000 }],
  ])
  // Closed by one of two who have it, a file is still the user's.
  holdings.message(late, { type: 'leave', id: 9001 })
  attend(late, 9000, 'f70000')
  holdings.message(mine[7]!, { type: 'leave', id: 0 })
  attend(late, 9002, 'f70000')
  await soon()
  expect(late.sent.slice(2)).toEqual([FULL, { type: 'attended', id: 9002 }])
  for (const each of [...mine, late, other, root]) {
    expect(each.isCut).toBe(false)
    holdings.closed(each)
  }
  expect([shared, granted.hasFile(1)]).toEqual([0, false])
})

test('a connection that attends too many files is told so, and keeps those that it has', async () => {
  const one = connect(0)
  await attendMany(one, 1)
  attend(one, 9000, 'f9000')
  await soon()
  expect([one.sent.at(-1), one.isCut, granted.hasFile(9000)]).toEqual([FULL, false, false])
  // That it leaves what it was refused is no mistake.
  holdings.message(one, { type: 'leave', id: 9000 })
  holdings.message(one, { type: 'leave', id: 0 })
  attend(one, 9001, 'f9000')
  await soon()
  expect(one.sent.at(-1)).toEqual({ type: 'attended', id: 9001 })
})

test('where others have taken all the room, who attends a file is told so, and keeps those that he has', async () => {
  const one = connect()
  attend(one, 1, 'f1')
  granted.addFile = () => false
  attend(one, 9000, 'f2')
  await soon()
  expect([one.sent, one.isCut]).toEqual([[FULL, { type: 'attended', id: 1 }], false])
  holdings.closed(one)
  expect(shared).toBe(0)
})

test('who attends and leaves without waiting for an answer is cut off', async () => {
  let goOn!: () => void
  answered = new Promise((resolve) => (goOn = resolve))
  const hasty = connect(0)
  for (let i = 1; i <= 8192; i++) {
    attend(hasty, i, 'f')
    holdings.message(hasty, { type: 'leave', id: i })
  }
  expect(hasty.isCut).toBe(false)
  attend(hasty, 9000, 'f')
  expect(hasty.isCut).toBe(true)
  goOn()
  await soon()
  holdings.closed(hasty)
  expect(shared).toBe(0)
})

test('where nobody can be looked for who is in the way, who attends is told so, and may try again', async () => {
  const one = connect()
  inTheWay = () => Promise.reject(Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' }))
  attend(one, 1, 'f1')
  await soon()
  expect(one.sent).toEqual([expect.objectContaining({ type: 'refused', id: 1, code: 'EMFILE' })])
  expect([granted.hasFile(1), holdings.report().caches]).toEqual([false, 0])
  inTheWay = async () => undefined
  attend(one, 2, 'f1')
  await soon()
  expect(one.sent.at(-1)).toEqual({ type: 'attended', id: 2 })
  holdings.closed(one)
  expect(shared).toBe(0)
})

test('a file that is left and attended again by the same name while that is being found out is attended', async () => {
  const one = connect()
  inTheWay = () => Promise.reject(new Error('a defect'))
  attend(one, 1, 'f1')
  holdings.message(one, { type: 'leave', id: 1 })
  inTheWay = async () => undefined
  attend(one, 1, 'f1')
  await soon()
  expect(one.sent.map(({ type }) => type).sort()).toEqual(['attended', 'refused'])
  expect(granted.hasFile(1)).toBe(true)
})

test('who asks for more ranges than 64 at a time is told so, and holders go on', async () => {
  const [holder, asking] = [connect(), connect()]
  for (const each of [holder, asking]) holdings.show(each, file('f'), true)
  const range = { start: 0, end: 4096 }
  holdings.message(holder, { type: 'want', id: 1, range, readers: 'wait', wait: true, timeoutMs: null })
  await soon()
  for (let id = 1; id <= 65; id++) holdings.message(asking, { type: 'revoke', id, range, deadlineMs: 60_000 })
  await soon()
  expect(asking.sent).toEqual([expect.objectContaining({ type: 'refused', id: 65, code: 'ENFILE' })])
  holdings.message(holder, { type: 'abandon', id: 1 })
  await soon()
  expect(asking.sent.filter(({ type }) => type === 'ended')).toHaveLength(64)
  holdings.message(asking, { type: 'revoke', id: 66, range, deadlineMs: 60_000 })
  await soon()
  expect(asking.sent.at(-1)).toEqual({ type: 'ended', id: 66, asked: 0, taken: 0 })
})

test('what could not be published is still held, and nobody keeps what was there for a moment', async () => {
  const holder = connect()
  holdings.show(holder, file('f'), true)
  const range = { start: 0, end: 4096 }
  holdings.message(holder, { type: 'want', id: 1, range, readers: 'wait', wait: true, timeoutMs: null })
  await soon()
  const failing = [
    () => -28,
    () => {
      throw new Error('a part of it could not be put back')
    },
  ]
  for (const [i, fail] of failing.entries()) {
    publish = fail
    holdings.message(holder, { type: 'publish', id: 1, sync: true })
    await soon()
    expect(holder.sent.at(-1)).toMatchObject({ type: 'ended', id: 1, code: ['ENOSPC', 'EIO'][i] })
    expect([forgotten, holdings.report().held.length, holdings.report().published]).toEqual([i + 1, 1, 0])
  }
  publish = () => 0
  holdings.message(holder, { type: 'publish', id: 1, sync: true })
  await soon()
  expect(holder.sent.at(-1)).toEqual({ type: 'ended', id: 1 })
  expect([forgotten, holdings.report().held.length, holdings.report().published]).toEqual([3, 0, 1])
})
