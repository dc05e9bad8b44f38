/** What was noticed while requests were in hand is noticed again, and only when the last of those has been answered. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Crew } from '../../../src/daemon/crew.ts'
import { SecondLook } from '../../../src/daemon/second-look.ts'
import { FAN, type FileEvent } from '../../../src/linux/fanotify.ts'

const WORKERS = 3

/** An event that can be told from others. */
const event = (pid: number): FileEvent => ({
  mask: FAN.MODIFY,
  pid,
  inode: undefined,
  directory: undefined,
  name: undefined,
})

function begin() {
  const crew = new Crew(Crew.allocate(WORKERS))
  for (let w = 0; w < WORKERS; w++) crew.callIn(w)
  const noticed: (number | 'all')[] = []
  const look = new SecondLook(crew, { notice: ({ pid }) => noticed.push(pid), noticeAll: () => noticed.push('all') })
  return { crew, look, noticed }
}

test('with no request in hand once is enough', () => {
  const { look, noticed } = begin()
  look.add([event(1)])
  look.addAll()
  expect(look.isWaiting).toBe(false)
  look.take()
  expect(noticed).toEqual([])
})

test('it waits for the requests of that moment, and for no later ones', () => {
  const { crew, look, noticed } = begin()
  crew.began(0, 1, 0)
  crew.began(1, 2, 0)
  look.add([event(1), event(2)])
  crew.ended(0)
  look.take()
  expect([noticed, look.isWaiting]).toEqual([[], true])
  // The same worker, another request.
  crew.ended(1)
  crew.began(1, 3, 0)
  look.take()
  expect([noticed, look.isWaiting]).toEqual([[1, 2], false])
})

test('what comes while others wait has its own turn', () => {
  const { crew, look, noticed } = begin()
  crew.began(0, 1, 0)
  look.add([event(1)])
  crew.began(1, 2, 0)
  look.add([event(2)])
  crew.ended(0)
  look.take()
  expect([noticed, look.isWaiting]).toEqual([[1], true])
  crew.ended(1)
  look.take()
  expect([noticed, look.isWaiting]).toEqual([[1, 2], false])
})

test('a worker that died has no request in hand any more', () => {
  const { crew, look, noticed } = begin()
  crew.began(2, 1, 0)
  look.add([event(1)])
  crew.bury(2)
  look.take()
  expect(noticed).toEqual([1])
})

test('more than can be remembered becomes everything', () => {
  const { crew, look, noticed } = begin()
  crew.began(0, 1, 0)
  look.add([event(1)])
  for (let i = 0; i < 5; i++) look.add(Array.from({ length: 1000 }, () => event(2)))
  crew.ended(0)
  look.take()
  crew.ended(0)
  look.take()
  expect(noticed).toEqual([1, 'all'])
})

test('in any order: each event is noticed again after every request that was in hand when it came', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('begin', 'end', 'event', 'all', 'take'), fc.nat(WORKERS - 1)), {
    maxLength: 100,
  })
  fc.assert(
    fc.property(steps, (commands) => {
      const { crew, look, noticed } = begin()
      /** The requests in hand, by worker; those that each event, or call for everything, has to outlive. */
      const inHand = new Map<number, number>()
      const outlives = new Map<number, number[]>()
      const isDue = (id: number) => outlives.get(id)!.every((request) => ![...inHand.values()].includes(request))
      let last = 0
      const check = () => {
        for (const id of noticed.splice(0)) {
          if (id === 'all') for (const each of [...outlives.keys()].filter(isDue)) outlives.delete(each)
          else if (outlives.has(id)) {
            expect(isDue(id)).toBe(true)
            outlives.delete(id)
          }
        }
      }
      for (const [what, w] of commands) {
        last++
        if (what === 'begin' && !inHand.has(w)) {
          crew.began(w, last, 0)
          inHand.set(w, last)
        } else if (what === 'end' && inHand.delete(w)) crew.ended(w)
        else if (what === 'event' || what === 'all') {
          if (inHand.size > 0) outlives.set(last, [...inHand.values()])
          if (what === 'event') look.add([event(last)])
          else look.addAll()
        } else look.take()
        check()
      }
      for (const w of inHand.keys()) crew.ended(w)
      inHand.clear()
      for (let i = 0; i < 3; i++) look.take()
      check()
      expect(look.isWaiting).toBe(false)
      expect([...outlives.keys()]).toEqual([])
    }),
  )
})
