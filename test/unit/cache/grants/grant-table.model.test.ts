/**
 * The table of grants against a list of who came when: whatever is asked in whatever order, nobody is let in beside whom he excludes or before whom he came after,
 * and when all who can end have ended, nobody waits any more.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Grant, GrantReaders } from '../../../../src/cache/grants/grant-authority.ts'
import { GrantTable } from '../../../../src/cache/grants/grant-table.ts'
import { VirtualTimers } from '../../../../src/sim/virtual-timers.ts'

const RUNS = Number(process.env.SAMEPAGE_TEST_RUNS ?? 1500)

const n = fc.integer({ min: 0, max: 1000 })
const wish = {
  file: fc.constantFrom('a', 'a', 'a', 'b'),
  from: fc.integer({ min: 0, max: 4 }),
  pages: fc.integer({ min: 1, max: 3 }),
  /** 0: a name of its own. */
  holder: fc.integer({ min: 0, max: 3 }),
  timeoutMs: fc.constantFrom(undefined, undefined, 5, 20),
  wait: fc.constantFrom(true, true, true, true, false),
}
const commands = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('request' as const),
        ...wish,
        readers: fc.constantFrom<GrantReaders>('wait', 'last-published'),
      }),
    },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('enter' as const), ...wish, writes: fc.boolean() }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('end' as const), n }) },
    fc.record({ do: fc.constant('publish' as const), n }),
    fc.record({ do: fc.constant('take back' as const), n }),
    fc.record({ do: fc.constant('revoke' as const), n, ms: fc.constantFrom(0, 10) }),
    fc.record({ do: fc.constant('gone' as const), holder: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 5, 30) }),
  ),
  { maxLength: 60 },
)
type Command = typeof commands extends fc.Arbitrary<(infer C)[]> ? C : never

interface Known {
  readonly number: number
  readonly file: string
  readonly from: number
  readonly to: number
  readonly holder: string | undefined
  readonly isGrant: boolean
  readonly writes: boolean
  readonly readers: GrantReaders
  readonly askedAt: number
  readonly timeoutMs: number | undefined
  takeBack: () => boolean
  state: 'waits' | 'has' | 'over'
  isPublishing: boolean
  /** A grant's, or how to leave. */
  grant?: Grant
  leave?: () => void
}

function exclude(a: Known, b: Known): boolean {
  if (a.file !== b.file || a.from >= b.to || b.from >= a.to) return false
  if (a.isGrant && b.isGrant) return true
  if (!a.isGrant && !b.isGrant) return false
  const [grant, passage] = a.isGrant ? [a, b] : [b, a]
  return grant.holder !== passage.holder && (passage.writes || grant.readers === 'wait')
}

class World {
  readonly timers = new VirtualTimers()
  readonly table: GrantTable
  readonly all: Known[] = []
  readonly codes: string[] = []

  constructor(holdMs?: number) {
    this.table = new GrantTable(this.timers, holdMs === undefined ? {} : { holdMs, revokeMs: 7 })
  }

  run(command: Command): void {
    switch (command.do) {
      case 'request':
      case 'enter':
        this.#ask(command)
        break
      case 'end':
        this.#end(this.#pick(command.n, ({ state, isPublishing }) => state === 'has' && !isPublishing))
        break
      case 'publish':
        this.#publish(this.#pick(command.n, ({ state, isGrant }) => state === 'has' && isGrant))
        break
      case 'take back':
        this.#pick(command.n, ({ state }) => state === 'waits')?.takeBack()
        break
      case 'revoke': {
        const known = this.#pick(command.n, ({ state, isGrant }) => state === 'has' && isGrant)
        if (known !== undefined) this.table.revoke(known.grant!, command.ms)
        break
      }
      case 'gone':
        this.table.holderGone(`holder ${command.holder}`)
        break
      case 'pass':
        this.timers.pass(command.ms)
        break
    }
    this.table.checkInvariants()
  }

  /** Lets everything end that does not itself wait for something. */
  drain(): void {
    for (let left = true; left; ) {
      const busy = new Set(this.all.filter(({ state }) => state === 'waits').map(({ holder }) => holder))
      const next = this.all.find(
        ({ state, isPublishing, isGrant, holder }) =>
          state === 'has' && (isPublishing || !isGrant || !busy.has(holder)),
      )
      left = next !== undefined
      if (next?.isPublishing === true) this.#endPublish(next)
      else this.#end(next)
      this.table.checkInvariants()
    }
  }

  /** Readers and writers are through. */
  leaveAll(): void {
    for (const known of this.all) if (known.state === 'has' && !known.isGrant) this.#end(known)
  }

  #ask(command: Command & { do: 'request' | 'enter' }): void {
    const number = this.all.length
    const isGrant = command.do === 'request'
    const known: Known = {
      number,
      file: command.file,
      from: command.from,
      to: command.from + command.pages,
      holder: command.holder > 0 ? `holder ${command.holder}` : isGrant ? `nobody ${number}` : undefined,
      isGrant,
      writes: !isGrant && command.writes,
      readers: isGrant ? command.readers : 'wait',
      askedAt: this.timers.now(),
      timeoutMs: command.timeoutMs,
      takeBack: () => false,
      state: 'waits',
      isPublishing: false,
    }
    this.all.push(known)
    const { file, from, to, holder, timeoutMs } = known
    const onRefused = (code: string) => {
      expect(known.state).toBe('waits')
      known.state = 'over'
      this.codes.push(code)
      if (code === 'ETIMEDOUT') expect(this.timers.now()).toBe(known.askedAt + timeoutMs!)
      if (code === 'EAGAIN') expect(command.wait).toBe(false)
      if (code === 'EDEADLK') expect(command.holder).toBeGreaterThan(0)
    }
    const common = { file, from, to, wait: command.wait, timeoutMs, onRefused }
    known.takeBack = isGrant
      ? this.table.request({
          ...common,
          holder: holder!,
          readers: command.readers,
          onGranted: (grant) => {
            known.grant = grant
            this.#begins(known)
          },
          onEnded: () => {
            expect(known.state).toBe('has')
            known.state = 'over'
          },
        })
      : this.table.enter({
          ...common,
          holder,
          writes: command.writes,
          onEntered: (leave) => {
            known.leave = leave
            this.#begins(known)
          },
        })
  }

  /** Somebody has got what he asked for. */
  #begins(known: Known): void {
    expect(known.state).toBe('waits')
    known.state = 'has'
    for (const other of this.all) {
      if (other === known) continue
      if (other.state === 'has' && exclude(known, other))
        throw new Error(`${known.number} is let in beside ${other.number}`)
      if (other.state === 'has' && other.isPublishing && this.#isInside(known, other))
        throw new Error(`${known.number} is let into a publish of ${other.number}`)
      // Who has a name may overtake who waits for it.
      const isNobodys = known.holder === undefined || known.holder.startsWith('nobody')
      if (isNobodys && other.state === 'waits' && other.number < known.number && exclude(known, other))
        throw new Error(`${known.number} overtakes ${other.number}`)
    }
  }

  #isInside(passage: Known, grant: Known): boolean {
    return !passage.isGrant && passage.file === grant.file && passage.from < grant.to && grant.from < passage.to
  }

  #end(known: Known | undefined): void {
    if (known === undefined) return
    if (known.isGrant) expect(this.table.release(known.grant!)).toBe(true)
    else {
      known.state = 'over'
      known.leave!()
      known.leave!()
    }
  }

  #publish(known: Known | undefined): void {
    if (known === undefined) return
    if (known.isPublishing) {
      this.#endPublish(known)
      return
    }
    let isReady = false
    expect(this.table.beginPublish(known.grant!, () => (isReady = true))).toBe(true)
    // Those inside are let out: reads are short.
    for (const other of this.all) if (other.state === 'has' && this.#isInside(other, known)) this.#end(other)
    expect(isReady).toBe(true)
    known.isPublishing = true
  }

  #endPublish(known: Known): void {
    known.isPublishing = false
    this.table.endPublish(known.grant!)
  }

  #pick(n: number, fits: (known: Known) => boolean): Known | undefined {
    const fitting = this.all.filter(fits)
    return fitting[n % fitting.length]
  }
}

test('nobody is let in beside or before whom he must not be, and nobody waits for ever', () => {
  const seen = new Set<string>()
  fc.assert(
    fc.property(commands, (list) => {
      const world = new World()
      for (const command of list) world.run(command)
      world.drain()
      expect(world.all.filter(({ state }) => state !== 'over')).toEqual([])
      expect(world.table.filesInUse).toBe(0)
      for (const code of world.codes) seen.add(code)
      world.timers.pass(100)
      expect(world.timers.pending).toBe(0)
    }),
    { numRuns: RUNS },
  )
  expect([...seen].sort()).toEqual(['EAGAIN', 'ECANCELED', 'EDEADLK', 'ETIMEDOUT'])
})

test('with a time for which a grant may be held, nobody waits long for holders that never give back', () => {
  fc.assert(
    fc.property(commands, (list) => {
      const world = new World(10)
      for (const command of list) if (command.do !== 'publish') world.run(command)
      for (let i = 0; i < list.length; i++) {
        world.leaveAll()
        world.timers.pass(17)
        world.table.checkInvariants()
      }
      expect(world.all.filter(({ state }) => state === 'waits')).toEqual([])
    }),
    { numRuns: RUNS },
  )
})

test('that one holder may overtake does not let others overtake', () => {
  const world = new World()
  const requests: [from: number, pages: number, holder: number][] = [
    [1, 2, 0],
    [0, 2, 3],
    [1, 2, 0],
    [2, 1, 0],
    // For holder 3, for whom the third one waits: before that one, but it keeps behind the first.
    [2, 1, 3],
  ]
  for (const [from, pages, holder] of requests)
    world.run({ do: 'request', file: 'a', from, pages, holder, timeoutMs: undefined, wait: true, readers: 'wait' })
  world.drain()
  expect(world.all.map(({ state }) => state)).toEqual(new Array(5).fill('over'))
  expect(world.codes).toEqual([])
})
