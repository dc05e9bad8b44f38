/** The tester tested: that it makes the same program again, tells like from unlike, and finds the operations that matter. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fill, pageHashes } from '../../../torture/bytes.ts'
import { agrees, difference, Periods, withoutFileTimes } from '../../../torture/compare.ts'
import { generate } from '../../../torture/generate.ts'
import { ANY, ANY_SUCCESS, type Recipe } from '../../../torture/program.ts'
import { shrink } from '../../../torture/shrink.ts'

const recipe: Recipe = {
  seed: 1,
  ops: 500,
  processes: 3,
  users: 3,
  readOnly: false,
  belowProcesses: 0,
  isNative: true,
  byDaemon: false,
}

describe('programs', () => {
  test('the same recipe makes the same program, another seed another one', () => {
    expect(generate(recipe)).toEqual(generate(recipe))
    expect(generate({ ...recipe, seed: 2 })).not.toEqual(generate(recipe))
  })

  test('a longer program begins with the shorter one', () => {
    const short = generate(recipe)
    expect(generate({ ...recipe, ops: 1000 }).slice(0, 500)).toEqual(short.slice(0, 500))
  })

  test('all processes take part, and each operation knows its place', () => {
    const program = generate(recipe)
    expect(new Set(program.map(({ process }) => process))).toEqual(new Set([0, 1, 2]))
    expect(program.every(({ index }, i) => index === i)).toBe(true)
  })
})

describe('shrinking', () => {
  test('leaves exactly the items that are needed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.uniqueArray(fc.integer({ min: 0, max: 59 }), { minLength: 1, maxLength: 5 }),
        async (size, wanted) => {
          const needed = wanted.filter((item) => item < size)
          const items = Array.from({ length: size }, (_, i) => i)
          const shortest = await shrink(items, async (part) => needed.every((item) => part.includes(item)))
          expect(shortest).toEqual(needed.sort((a, b) => a - b))
        },
      ),
    )
  })
})

describe('bytes', () => {
  test('a piece of a file is filled as the whole would be', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 9000 }), fc.integer({ min: 0, max: 300 }), (offset, length) => {
        const whole = new Uint8Array(offset + length)
        fill(whole, 7, 0)
        const piece = new Uint8Array(length)
        fill(piece, 7, offset)
        expect(Buffer.from(piece)).toEqual(Buffer.from(whole.subarray(offset)))
      }),
    )
  })

  test('one byte changes the hash of its page and of no other', () => {
    const bytes = Buffer.alloc(3 * 4096)
    fill(bytes, 1, 0)
    const before = pageHashes(bytes, 0)
    bytes[5000]! ^= 1
    const after = pageHashes(bytes, 0)
    expect(after.map((hash, page) => hash !== before[page])).toEqual([false, true, false])
  })
})

describe('comparing', () => {
  const same = (text: string) => text

  test('what changed after the file was opened may be old or new, page by page, but nothing else', () => {
    const wanted: [string, string] = ['8192: new1,new2', '8192: old1,old2']
    for (const fine of ['8192: new1,new2', '8192: old1,old2', '8192: old1,new2'])
      expect(agrees(fine, wanted, same), fine).toBe(true)
    for (const wrong of ['8192: old1,other', '8192: old2,old1', '4096: old1', 'EIO'])
      expect(agrees(wrong, wanted, same), wrong).toBe(false)
    expect(agrees('8192: old1,old2', '8192: new1,new2', same)).toBe(false)
  })

  test('times agree by their period; those that somebody set, exactly', () => {
    const periods = new Periods(1_700_000_000)
    periods.begin(1_700_000_010)
    expect(periods.normalize('mtime=@1700000003.000000001 ctime=@1700000011.5')).toBe('mtime=period 0 ctime=period 1')
    expect(periods.normalize('mtime=@12.000000003')).toBe('mtime=@12.000000003')
  })

  test('loose times are those of regular files only', () => {
    expect(withoutFileTimes('mode=100644 nlink=1 atime=@1.0 mtime=@2.0 ctime=@3.0')).toBe(
      'mode=100644 nlink=1 atime=@1.0',
    )
    expect(withoutFileTimes('mode=40755 nlink=1 mtime=@2.0 ctime=@3.0')).toContain('mtime=@2.0')
  })

  test('where anything was possible, an error may still not have been', () => {
    expect(agrees('size 3', ['size 9', ANY_SUCCESS], same)).toBe(true)
    expect(agrees('ESTALE', ['size 9', ANY_SUCCESS], same)).toBe(false)
    expect(agrees('ENXIO', ['24', ANY], same)).toBe(true)
  })

  test('trees differ by line', () => {
    expect(difference(['a 1', 'b 2'], ['a 1', 'b 3'])).toEqual(['- b 3', '+ b 2'])
  })
})
