import { expect, it, vi } from 'vitest'
import { isRepeatable } from '../../../src/daemon/handlers/repeatable.ts'
import { OPEN_DSYNC, OPEN_SYNC } from '../../../src/daemon/open-handle.ts'
import { type KeeperContext, makeSpace } from '../../../src/daemon/serving-process/keeper-context.ts'
import { retryWithSpace, Space } from '../../../src/daemon/space.ts'
import { Reply, Request } from '../../../src/fuse/messages.ts'
import { IN_HEADER_BYTES } from '../../../src/fuse/protocol.ts'
import { ERRNO } from '../../../src/linux/errors.ts'
import { O_APPEND, O_DSYNC, O_SYNC } from '../../../src/linux/file.ts'

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

it('does not try once more what may not be handled twice', () => {
  let handled = 0
  const fail = () => {
    handled++
    return -ERRNO.ENOSPC
  }
  const handler = retryWithSpace(
    fail,
    () => true,
    () => false,
  )
  expect(handler(request, reply)).toBe(-ERRNO.ENOSPC)
  expect(handled).toBe(1)
})

it('repeats no request that waits for the disk', () => {
  const write = (flags: number, marks: number) => {
    const asked = new Request(128)
    const body = IN_HEADER_BYTES / 4
    asked.words[body + 1] = marks
    asked.words[body + 8] = flags
    return isRepeatable('WRITE')(asked)
  }
  expect(write(O_APPEND, 0)).toBe(true)
  expect(write(O_APPEND | O_DSYNC, 0)).toBe(false)
  expect(write(0, OPEN_DSYNC)).toBe(false)
  expect(write(O_SYNC, OPEN_DSYNC | OPEN_SYNC)).toBe(false)
  for (const name of ['FSYNC', 'FSYNCDIR', 'SYNCFS'] as const) expect(isRepeatable(name)(request)).toBe(false)
  for (const name of ['FALLOCATE', 'CREATE', 'SETATTR'] as const) expect(isRepeatable(name)(request)).toBe(true)
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

it.each(['coolAll', 'dropUnused'])('where %s fails, that is said, and who waits goes on', async (failing) => {
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const call = async (name: string) => {
    if (name === failing) throw new RangeError(`${name} is out of bounds`)
  }
  let made = 0
  const context = {
    warm: { coolAll: () => call('coolAll') },
    keeper: { families: { dropUnused: () => call('dropUnused') } },
    space: { made: () => made++ },
  }
  try {
    await makeSpace(context as unknown as KeeperContext)
    expect(said.mock.calls).toEqual([[`samepage: making space failed: RangeError: ${failing} is out of bounds\n`]])
    expect(made).toBe(1)
  } finally {
    said.mockRestore()
  }
})
