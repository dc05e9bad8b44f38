import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { residentPages } from '../../../src/linux/mincore.ts'
import { readNodes } from '../../../src/linux/numa.ts'
import { placePages } from '../../../src/linux/page-placement.ts'

const PAGES = 64
const PAGE_BYTES = 4096

let directory: string
let fd: number

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-placement-'))
  const file = path.join(directory, 'file')
  fs.writeFileSync(file, Buffer.alloc(PAGES * PAGE_BYTES, 1))
  fd = fs.openSync(file, 'r')
})

afterEach(() => {
  fs.closeSync(fd)
  fs.rmSync(directory, { recursive: true })
})

/** The one node, or the first of several: what is asked about then lies there, or is moved there. */
const node = readNodes().find(({ bytes }) => bytes > 0)?.number ?? 0

test('pages that are asked about are looked at, read where they were not in memory, and lie on the node', () => {
  const isWanted = new Uint8Array(PAGES).map((_, page) => (page % 3 === 0 ? 1 : 0))
  const wanted = isWanted.filter((is) => is === 1).length
  expect(placePages(fd, 0, isWanted, node).looked).toBe(wanted)
  const again = placePages(fd, 0, isWanted, node)
  expect(again.elsewhere).toBe(0)
  const resident = new Uint8Array(PAGES)
  residentPages(fd, 0, PAGES * PAGE_BYTES, resident)
  for (let page = 0; page < PAGES; page += 3) expect(resident[page]).toBe(1)
})

test('from an offset; nothing asked, nothing found; what cannot be mapped is an error', () => {
  expect(placePages(fd, 16 * PAGE_BYTES, new Uint8Array(8).fill(1), node)).toEqual({
    looked: 8,
    elsewhere: 0,
    moved: 0,
  })
  expect(placePages(fd, 0, new Uint8Array(PAGES), node)).toEqual({ looked: 0, elsewhere: 0, moved: 0 })
  expect(() => placePages(-1, 0, new Uint8Array(1).fill(1), node)).toThrow(/EBADF/)
})
