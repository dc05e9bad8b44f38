import fs from 'node:fs'
import { expect, test } from 'vitest'
import { UndoableCopy } from '../../../../src/daemon/grants/undoable-copy.ts'
import { ERRNO } from '../../../../src/linux/errors.ts'
import { addressOf } from '../../../../src/linux/native.ts'

const BYTES = 3 * 4096

test('what could not be brought to the disk is put back', () => {
  // A file that can be read and written, and has no disk: fdatasync(2) fails.
  const fd = fs.openSync('/proc/self/mem', 'r+')
  const file = Buffer.alloc(BYTES, 'o')
  const granted = UndoableCopy.copy(fd, Number(addressOf(file)), BYTES)
  if (typeof granted === 'number') throw new Error(`it cannot be read: ${granted}`)
  try {
    fs.writeSync(granted.memory, Buffer.alloc(BYTES, 'N'), 0, BYTES, 0)
    expect(granted.publish(fd, true)).toBe(-ERRNO.EINVAL)
    expect(file.equals(Buffer.alloc(BYTES, 'o'))).toBe(true)
    expect(granted.publish(fd, false)).toBe(0)
    expect(file.equals(Buffer.alloc(BYTES, 'N'))).toBe(true)
  } finally {
    granted.close()
    fs.closeSync(fd)
  }
})
