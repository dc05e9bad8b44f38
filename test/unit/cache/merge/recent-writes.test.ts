import { expect, test } from 'vitest'
import { RecentWrites } from '../../../../src/cache/merge/recent-writes.ts'

test('a page that was written is volatile for the rest of that pass and for the next one', () => {
  const writes = new RecentWrites(1 << 16)
  // Also where the numbers of passes come round.
  for (let pass = 0; pass < 600; pass++) {
    expect(writes.has(3, pass)).toBe(false)
    writes.add(3, pass)
    expect(writes.has(3, pass)).toBe(true)
    expect(writes.has(4, pass)).toBe(false)
    writes.nextPass()
    expect(writes.has(3, pass)).toBe(true)
    if (pass > 0) expect(writes.has(3, pass - 1)).toBe(false)
  }
})

test('few pages that were not written are taken for such', () => {
  const writes = new RecentWrites(1 << 16)
  for (let page = 0; page < 1000; page++) writes.add(1, page * 17)
  let wrong = 0
  for (let page = 0; page < 10_000; page++) if (writes.has(2, page)) wrong++
  expect(wrong).toBeLessThan(1000)
})
