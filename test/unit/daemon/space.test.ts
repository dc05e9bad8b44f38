import { expect, it } from 'vitest'
import { retryWithSpace, Space } from '../../../src/daemon/space.ts'
import { Reply, Request } from '../../../src/fuse/messages.ts'
import { ERRNO } from '../../../src/linux/errors.ts'

const request = new Request(64)
const reply = new Reply(64)

it('tries once more what failed for want of space, and only that', () => {
  for (const [results, wanted, made] of [
    [[5], 5, 0],
    [[-ERRNO.EIO], -ERRNO.EIO, 0],
    [[-ERRNO.ENOSPC, 7], 7, 1],
    [[-ERRNO.EDQUOT, -ERRNO.EDQUOT, 7], -ERRNO.EDQUOT, 1],
  ] as const) {
    const rest: number[] = [...results]
    let calls = 0
    const handler = retryWithSpace(
      () => rest.shift()!,
      () => ++calls > 0,
    )
    expect(handler(request, reply)).toBe(wanted)
    expect(calls).toBe(made)
  }
})

it('is not asked again at once', () => {
  const space = new Space(Space.allocate())
  let asked = 0
  const ask = () => {
    asked++
    space.made()
  }
  expect([space.wait(ask), space.wait(ask), asked]).toEqual([true, false, 1])
})
