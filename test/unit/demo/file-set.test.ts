import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { Cleanup } from '../../../src/demo/cleanup.ts'
import { Content } from '../../../src/demo/content.ts'
import { FileSet } from '../../../src/demo/file-set.ts'
import { Reader } from '../../../src/demo/reading.ts'

const MEBIBYTE = 2 ** 20
const PAGE = 4096

function temporaryDirectory(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-unit-'))
  onTestFinished(() => fs.rmSync(directory, { recursive: true }))
  return directory
}

test('content is the same from wherever it is asked, differs by seed and stream, and does not compress', () => {
  const whole = new Content(1, 'a').bytes(0, MEBIBYTE)
  fc.assert(
    fc.property(fc.nat(MEBIBYTE / 16 - 1), fc.nat(5000), (block, length) => {
      const offset = block * 16
      const bytes = Math.min(length, MEBIBYTE - offset)
      expect(new Content(1, 'a').bytes(offset, bytes)).toEqual(whole.subarray(offset, offset + bytes))
    }),
  )
  expect(new Content(2, 'a').bytes(0, PAGE).equals(whole.subarray(0, PAGE))).toBe(false)
  expect(new Content(1, 'b').bytes(0, PAGE).equals(whole.subarray(0, PAGE))).toBe(false)
  expect(deflateSync(whole).length).toBeGreaterThan(MEBIBYTE)
})

test('chosen numbers are different, in order and below the limit', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 3000 }), fc.nat(3000), (seed, limit, count) => {
      const chosen = new Content(seed, 'pages').choose(count, limit)
      expect(chosen).toHaveLength(Math.min(count, limit))
      expect(chosen).toEqual([...new Set(chosen)].sort((a, b) => a - b))
      expect(chosen.every((number) => number >= 0 && number < limit)).toBe(true)
    }),
  )
})

test('files hold what is expected of them, and one wrong byte is found', async () => {
  const directory = temporaryDirectory()
  const cleanup = new Cleanup()
  // No multiple of what is read at once.
  const set = new FileSet({ size: 2 * MEBIBYTE + 5 * PAGE, clones: 3, rewritten: 0.1, seed: 7 })
  let written = 0
  await set.write(directory, cleanup, async (bytes) => {
    written += bytes
  })
  expect(written).toBe(set.totalBytes)
  expect(set.files.map(({ kind }) => kind)).toEqual(['image', 'pristine', 'diverged', 'pristine'])

  const [image, pristine, diverged] = set.files.map(({ name }) => fs.readFileSync(path.join(directory, name)))
  expect(pristine?.equals(image!)).toBe(true)
  const changed = Array.from({ length: image!.length / PAGE }, (_, page) => page).filter(
    (page) => image!.compare(diverged!, page * PAGE, (page + 1) * PAGE, page * PAGE, (page + 1) * PAGE) !== 0,
  )
  expect(changed).toEqual(set.files[2]!.rewrittenPages)
  expect(set.uniqueBytes).toBe(image!.length + changed.length * PAGE)

  const reader = new Reader(cleanup)
  expect(await reader.verify(set, directory, () => {})).toEqual([])
  for (const [name, position] of [
    ['image', 0],
    ['clone-2', diverged!.length - 1],
  ] as const) {
    const fd = fs.openSync(path.join(directory, name), 'r+')
    const byte = Buffer.alloc(1)
    fs.readSync(fd, byte, 0, 1, position)
    fs.writeSync(fd, Buffer.from([byte[0]! ^ 1]), 0, 1, position)
    expect(await reader.verify(set, directory, () => {})).toEqual([name])
    fs.writeSync(fd, byte, 0, 1, position)
    fs.closeSync(fd)
  }
  fs.appendFileSync(path.join(directory, 'clone-1'), 'x')
  fs.truncateSync(path.join(directory, 'clone-3'), MEBIBYTE)
  expect(await reader.verify(set, directory, () => {})).toEqual(['clone-1', 'clone-3'])
})
