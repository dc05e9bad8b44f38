/** SETXATTR in both layouts of its header: literal bodies as the kernel sends them. */
import { beforeEach, expect, test, vi } from 'vitest'
import type { Credentials } from '../../../../src/daemon/credentials.ts'
import { changingHandlers } from '../../../../src/daemon/handlers/changing.ts'
import type { Context } from '../../../../src/daemon/handlers/context.ts'
import { nodeidOf } from '../../../../src/daemon/inode-table.ts'
import { Reply, Request } from '../../../../src/fuse/messages.ts'
import { IN_HEADER_BYTES } from '../../../../src/fuse/protocol.ts'

const calls: unknown[][] = []
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

vi.mock('../../../../src/linux/xattr.ts', () => ({
  setxattr: (fd: number, name: Uint8Array, value: Uint8Array, size: number, flags: number) => {
    calls.push([fd, text(name), text(value), size, flags])
    return 0
  },
  removexattr: () => 0,
}))

beforeEach(() => {
  calls.length = 0
})

/** Has the handler set what `header`, the words in front of the name, and `rest` say. Whether it did so as the client. */
function setxattr(setxattrExt: boolean, header: number[], rest: string): boolean {
  let wasClient = false
  const credentials = {
    as: (_request: Request, _umask: number, call: () => number) => {
      wasClient = true
      return call()
    },
  } as unknown as Credentials
  const context = { options: { setxattrExt }, files: { pin: () => 7, unpin() {} } } as unknown as Context
  const request = new Request(4096)
  // What stands behind the message must not be taken for a part of it.
  request.bytes.fill(0xff)
  request.words.fill(0, 0, IN_HEADER_BYTES / 4)
  request.words[0] = IN_HEADER_BYTES + header.length * 4 + rest.length
  request.words[4] = nodeidOf(0)
  request.words.set(header, IN_HEADER_BYTES / 4)
  request.bytes.set(Buffer.from(rest), IN_HEADER_BYTES + header.length * 4)
  expect(changingHandlers(context, credentials).SETXATTR!(request, new Reply(4096))).toBe(0)
  return wasClient
}

test('of a kernel that knows the flags of SETXATTR, the name follows them', () => {
  expect(setxattr(true, [5, 2, 0, 0], 'user.comment\0value')).toBe(false)
  expect(setxattr(true, [4, 0, 1, 0], 'system.posix_acl_access\0list')).toBe(true)
  expect(calls).toEqual([
    [7, 'user.comment\0', 'value', 5, 2],
    [7, 'system.posix_acl_access\0', 'list', 4, 0],
  ])
})

// Linux 5.4 to 5.12. The first byte of the names is odd: it is not taken for flags.
test('of an older one, the name follows size and flags', () => {
  expect(setxattr(false, [5, 2], 'user.xx.user.y\0value')).toBe(false)
  expect(setxattr(false, [1, 0], 'user.a\0v')).toBe(false)
  expect(calls).toEqual([
    [7, 'user.xx.user.y\0', 'value', 5, 2],
    [7, 'user.a\0', 'v', 1, 0],
  ])
})
