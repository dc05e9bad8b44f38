import { beforeEach, describe, expect, test } from 'vitest'
import type { Grant, GrantWish, PassageWish } from '../../../../src/cache/grants/grant-authority.ts'
import { GrantTable, type GrantTableOptions } from '../../../../src/cache/grants/grant-table.ts'
import { VirtualTimers } from '../../../../src/sim/virtual-timers.ts'

let timers: VirtualTimers
let table: GrantTable
/** What was answered, in order. */
let log: string[]
let grants: Map<string, Grant>
let leaves: Map<string, () => void>

function use(options: GrantTableOptions = {}): void {
  timers = new VirtualTimers()
  table = new GrantTable(timers, options)
  log = []
  grants = new Map()
  leaves = new Map()
}

beforeEach(() => use())

function request(name: string, from: number, to: number, wish: Partial<GrantWish> = {}): () => boolean {
  const takeBack = table.request({
    file: 'a',
    from,
    to,
    holder: name,
    readers: 'wait',
    wait: true,
    onGranted: (grant) => {
      grants.set(name, grant)
      log.push(`${name} granted`)
    },
    onRefused: (code) => log.push(`${name} ${code}`),
    onRevoke: (ms) => log.push(`${name} asked, ${ms} ms`),
    onEnded: () => log.push(`${name} ended`),
    ...wish,
  })
  table.checkInvariants()
  return takeBack
}

function enter(name: string, from: number, to: number, wish: Partial<PassageWish> = {}): () => boolean {
  const takeBack = table.enter({
    file: 'a',
    from,
    to,
    writes: false,
    wait: true,
    onEntered: (leave) => {
      leaves.set(name, leave)
      log.push(`${name} in`)
    },
    onRefused: (code) => log.push(`${name} ${code}`),
    ...wish,
  })
  table.checkInvariants()
  return takeBack
}

function leave(name: string): void {
  leaves.get(name)!()
  table.checkInvariants()
}

function release(name: string): void {
  table.release(grants.get(name)!)
  table.checkInvariants()
}

/** What was answered since this was asked last. */
function answers(): string[] {
  return log.splice(0)
}

describe('order', () => {
  test('one holder at a time, first come, first served; other pages are nobody’s business', () => {
    request('A', 0, 2)
    request('B', 1, 3)
    request('C', 2, 3)
    request('D', 3, 4)
    expect(answers()).toEqual(['A granted', 'D granted'])
    release('A')
    expect(answers()).toEqual(['A ended', 'B granted'])
    release('B')
    expect(answers()).toEqual(['B ended', 'C granted'])
    request('other file', 2, 3, { file: 'b' })
    expect(answers()).toEqual(['other file granted'])
  })

  test('a grant waits for readers and writers inside, and those that come later wait for it', () => {
    enter('reader', 0, 1)
    enter('writer', 1, 2, { writes: true })
    request('A', 0, 2)
    enter('late', 0, 1)
    enter('elsewhere', 2, 3)
    expect(answers()).toEqual(['reader in', 'writer in', 'elsewhere in'])
    leave('reader')
    expect(answers()).toEqual([])
    leave('writer')
    expect(answers()).toEqual(['A granted'])
    release('A')
    expect(answers()).toEqual(['A ended', 'late in'])
  })

  test('one that gives up lets through who waited for it alone', () => {
    enter('reader', 0, 1)
    const takeBack = request('A', 0, 1)
    enter('late', 0, 1)
    answers()
    expect(takeBack()).toBe(true)
    expect(answers()).toEqual(['A ECANCELED', 'late in'])
    expect(takeBack()).toBe(false)
  })

  test('the holder’s own accesses pass, also past those that wait for it', () => {
    request('A', 0, 4)
    request('B', 0, 4)
    enter('own', 1, 2, { holder: 'A', writes: true })
    expect(answers()).toEqual(['A granted', 'own in'])
  })

  test('a holder overtakes who waits for it: nobody could go on else', () => {
    request('A', 0, 1)
    enter('reader', 0, 2)
    request('again', 1, 2, { holder: 'A' })
    expect(answers()).toEqual(['A granted', 'again granted'])
  })
})

describe('refusals', () => {
  test('who will not wait is told so, and leaves nothing behind', () => {
    request('A', 0, 1)
    request('B', 0, 1, { wait: false })
    enter('reader', 0, 1, { wait: false })
    expect(answers()).toEqual(['A granted', 'B EAGAIN', 'reader EAGAIN'])
    release('A')
    expect(table.filesInUse).toBe(0)
  })

  test('who has waited long enough', () => {
    request('A', 0, 1)
    request('B', 0, 1, { timeoutMs: 10 })
    request('C', 0, 1, { timeoutMs: 30 })
    answers()
    timers.pass(9)
    expect(answers()).toEqual([])
    timers.pass(1)
    expect(answers()).toEqual(['B ETIMEDOUT'])
    release('A')
    expect(answers()).toEqual(['A ended', 'C granted'])
    timers.pass(100)
    expect(answers()).toEqual([])
    expect(timers.pending).toBe(0)
  })

  test('who would wait for himself: over grants, readers that wait, and files', () => {
    request('A', 0, 1)
    request('A again', 0, 1, { holder: 'A' })
    expect(answers()).toEqual(['A granted', 'A again EDEADLK'])

    request('B', 5, 6)
    request('B wants A’s', 0, 1, { holder: 'B' })
    request('A wants B’s', 5, 6, { holder: 'A' })
    expect(answers()).toEqual(['B granted', 'A wants B’s EDEADLK'])
    enter('A reads B’s', 5, 6, { holder: 'A' })
    expect(answers()).toEqual(['A reads B’s EDEADLK'])

    request('C', 0, 1, { file: 'c' })
    request('C wants B’s', 5, 6, { holder: 'C' })
    request('A wants C’s', 0, 1, { file: 'c', holder: 'A' })
    expect(answers()).toEqual(['C granted', 'A wants C’s EDEADLK'])
  })

  test('a circle that would close only when two waiters have got what they wait for', () => {
    request('A', 0, 1)
    request('B', 1, 2)
    request('C 0', 0, 1, { holder: 'C' })
    request('D 1', 1, 2, { holder: 'D' })
    request('D 0', 0, 1, { holder: 'D' })
    request('C 1', 1, 2, { holder: 'C' })
    expect(answers()).toEqual(['A granted', 'B granted', 'C 1 EDEADLK'])
  })

  test('a name for each grant: nobody waits for himself', () => {
    request('A1', 0, 1)
    request('A2', 0, 1)
    expect(answers()).toEqual(['A1 granted'])
  })
})

describe('ends', () => {
  test('a grant that is revoked is taken at its deadline, unless it is given back before', () => {
    request('A', 0, 1)
    request('B', 1, 2)
    request('C', 0, 2)
    answers()
    table.revoke(grants.get('A')!, 50)
    table.revoke(grants.get('B')!, 50)
    expect(answers()).toEqual(['A asked, 50 ms', 'B asked, 50 ms'])
    release('B')
    timers.pass(49)
    expect(answers()).toEqual(['B ended'])
    timers.pass(1)
    expect(answers()).toEqual(['A ended', 'C granted'])
    expect(table.beginPublish(grants.get('A')!, () => {})).toBe(false)
    expect(table.release(grants.get('A')!)).toBe(false)
    expect(timers.pending).toBe(0)
  })

  test('holders for whom others wait are asked after some time, those for whom nobody waits never', () => {
    use({ holdMs: 100, revokeMs: 20 })
    request('A', 0, 1)
    request('B', 1, 2)
    timers.pass(300)
    enter('reader', 0, 1)
    expect(answers()).toEqual(['A granted', 'B granted'])
    timers.pass(0)
    expect(answers()).toEqual(['A asked, 20 ms'])
    timers.pass(20)
    expect(answers()).toEqual(['A ended', 'reader in'])
    leave('reader')
    request('C', 0, 1)
    const takeBack = enter('patient', 0, 1)
    timers.pass(99)
    takeBack()
    timers.pass(200)
    expect(answers()).toEqual(['C granted', 'patient ECANCELED'])
    enter('late', 0, 1)
    timers.pass(20)
    expect(answers()).toEqual(['C asked, 20 ms', 'C ended', 'late in'])
  })

  test('a holder that is gone has nothing, and wants nothing', () => {
    request('A', 0, 1)
    request('A2', 1, 2, { holder: 'A' })
    request('B', 2, 3)
    request('A3', 2, 3, { holder: 'A' })
    enter('reader', 0, 3)
    answers()
    table.holderGone('A')
    table.checkInvariants()
    expect(answers()).toEqual(['A3 ECANCELED', 'A ended', 'A2 ended'])
    release('B')
    expect(answers()).toEqual(['B ended', 'reader in'])
  })
})

describe('publishing', () => {
  test('readers of what was published last pass, but for the publish itself', () => {
    enter('early', 0, 1)
    request('A', 0, 1, { readers: 'last-published' })
    enter('reader', 0, 1)
    enter('writer', 0, 1, { writes: true })
    expect(answers()).toEqual(['early in', 'A granted', 'reader in'])
    expect(table.beginPublish(grants.get('A')!, () => log.push('ready'))).toBe(true)
    expect(table.beginPublish(grants.get('A')!, () => log.push('twice'))).toBe(false)
    enter('during', 0, 1)
    leave('early')
    expect(answers()).toEqual([])
    leave('reader')
    expect(answers()).toEqual(['ready'])
    enter('will not wait', 0, 1, { wait: false })
    expect(answers()).toEqual(['will not wait EAGAIN'])
    table.endPublish(grants.get('A')!)
    expect(answers()).toEqual(['during in'])
    release('A')
    expect(answers()).toEqual(['A ended', 'writer in'])
  })

  test('a grant is taken, or its holder gone, when what it publishes is published', () => {
    request('A', 0, 1)
    request('B', 0, 1)
    table.beginPublish(grants.get('A')!, () => log.push('ready'))
    table.revoke(grants.get('A')!, 10)
    timers.pass(10)
    table.holderGone('A')
    expect(answers()).toEqual(['A granted', 'ready', 'A asked, 10 ms'])
    table.endPublish(grants.get('A')!)
    expect(answers()).toEqual(['A ended', 'B granted'])
  })

  test('the holder’s own reads wait for its publish', () => {
    request('A', 0, 1)
    table.beginPublish(grants.get('A')!, () => {})
    enter('own', 0, 1, { holder: 'A' })
    expect(answers()).toEqual(['A granted'])
    table.endPublish(grants.get('A')!)
    expect(answers()).toEqual(['own in'])
  })
})

test('who is called may call the table', () => {
  request('A', 0, 1)
  table.request({
    file: 'a',
    from: 0,
    to: 1,
    holder: 'B',
    readers: 'wait',
    wait: true,
    onGranted: (grant) => {
      log.push('B granted')
      table.release(grant)
      request('C', 0, 1)
    },
    onRefused: () => {},
  })
  release('A')
  expect(answers()).toEqual(['A granted', 'A ended', 'B granted', 'C granted'])
})
