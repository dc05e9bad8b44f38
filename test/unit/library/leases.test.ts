/** What an attached cache gives up, against a list of what it was told to: nothing of that is cached, nobody is let in, and in the end all have had their turn. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { GrantTable } from '../../../src/cache/grants/grant-table.ts'
import { Leases } from '../../../src/library/attached/leases.ts'
import { VirtualTimers } from '../../../src/sim/virtual-timers.ts'

const commands = fc.array(
  fc.oneof(
    // One range for each, as the mount never asks for one twice at a time.
    { weight: 3, arbitrary: fc.record({ do: fc.constant('recall' as const), id: fc.nat(3), waits: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('restore' as const), id: fc.nat(3) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('enter' as const), page: fc.nat(3), writes: fc.boolean() }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('leave' as const), n: fc.nat(100) }) },
    fc.record({ do: fc.constant('left' as const) }),
  ),
  { maxLength: 50 },
)

test('nothing of what is given up is cached, nobody comes in anew, and when all is restored nobody waits', () => {
  fc.assert(
    fc.property(commands, (list) => {
      const table = new GrantTable(new VirtualTimers())
      /** By page, how often it is not to be cached. */
      const keptOut = [0, 0, 0, 0]
      const leases = new Leases(table, {
        keepOut(_, from) {
          keptOut[from]!++
          return () => keptOut[from]!--
        },
      })
      const told = new Map<number, boolean>()
      const inside: (() => void)[] = []
      let entered = 0
      let asked = 0
      for (const command of list) {
        if (command.do === 'recall') {
          const { id, waits } = command
          told.set(id, waits)
          leases.recall({ id, file: 'f', from: id, to: id + 1, readers: waits ? 'wait' : 'last-published' })
        } else if (command.do === 'restore') {
          told.delete(command.id)
          leases.restore(command.id)
        } else if (command.do === 'left') {
          told.clear()
          leases.left('f')
        } else if (command.do === 'leave') inside.splice(command.n % (inside.length + 1), 1)[0]?.()
        else {
          const { page, writes } = command
          const before = entered
          asked++
          const onEntered = (leave: () => void) => {
            entered++
            inside.push(leave)
          }
          leases.enter({ file: 'f', from: page, to: page + 1, writes, wait: true, onEntered, onRefused: () => {} })
          const readersWait = told.get(page)
          if (readersWait === true || (readersWait === false && writes)) expect(entered).toBe(before)
        }
        for (const page of keptOut.keys()) expect(keptOut[page]).toBe(told.get(page) === true ? 1 : 0)
        table.checkInvariants()
      }
      leases.left('f')
      while (inside.length > 0) inside.pop()!()
      expect(entered).toBe(asked)
      expect(table.filesInUse).toBe(0)
    }),
    { numRuns: 500 },
  )
})

test('when nobody tells of grants any more nothing is cached, and nobody is let in', () => {
  const kept: string[] = []
  const table = new GrantTable(new VirtualTimers())
  const leases = new Leases(table, {
    keepOut(file, from, to) {
      kept.push(`${file} ${from}–${to}`)
      return () => kept.push('in again')
    },
  })
  const answers: string[] = []
  const enter = () =>
    leases.enter({
      file: 'f',
      from: 0,
      to: 1,
      writes: false,
      wait: true,
      onEntered: () => answers.push('in'),
      onRefused: (code) => answers.push(code),
    })
  leases.lost(['f', 'g'])
  enter()
  expect(leases.isQuiet('f')).toBe(false)
  expect(answers).toEqual(['ENOTCONN'])
  expect(kept).toEqual(['f 0–Infinity', 'g 0–Infinity'])
})
