import fs from 'node:fs'
import path from 'node:path'
import { brotliDecompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { readTrace } from '../../../src/sim/traces/formats.ts'
import { SYNTHETIC } from '../../../src/sim/traces/synthetic.ts'
import { ROOT } from '../../support/sources.ts'

const accessesOf = (name: string, text: string) => [...readTrace(name, text).accesses]

test('one block a line; marks of rounds are left out', () => {
  expect(accessesOf('a.trc', '7\n9\n*\n7\n\n')).toEqual([0, 1, 0])
})

test('runs of blocks', () => {
  expect(accessesOf('a.lis', '100 3 0 1\n101 2 0 2\n')).toEqual([0, 1, 2, 1, 2])
})

test('MSR Cambridge: pages that a request touches, each disk by itself', () => {
  const text =
    '128166372003061629,web,0,Read,4095,2,10\n128166372003061630,web,1,Write,0,4096,10\n128166372003061631,web,0,Read,0,1,10\n'
  expect(accessesOf('a.csv', text)).toEqual([0, 1, 2, 0])
})

test('other names are refused', () => {
  expect(() => readTrace('a.bin', '')).toThrow('.lis')
})

test('made-up traces are the same every time, and name their pages in order', () => {
  for (const make of SYNTHETIC) {
    const trace = make()
    expect(Buffer.from(make().accesses.buffer).equals(Buffer.from(trace.accesses.buffer))).toBe(true)
    let next = 0
    let isInOrder = true
    for (const page of trace.accesses) {
      if (page > next) isInOrder = false
      if (page === next) next++
    }
    expect(isInOrder).toBe(true)
    expect(next).toBe(trace.pages)
  }
})

test('the traces of the benchmark can be read', () => {
  const folder = path.join(ROOT, 'bench/traces')
  const names = fs.readdirSync(folder).filter((name) => name.endsWith('.br'))
  expect(names.length).toBeGreaterThan(5)
  for (const name of names) {
    const trace = readTrace(
      name.slice(0, -3),
      brotliDecompressSync(fs.readFileSync(path.join(folder, name))).toString(),
    )
    expect(trace.accesses.length).toBeGreaterThan(5000)
    expect(trace.pages).toBeGreaterThan(1000)
  }
})
