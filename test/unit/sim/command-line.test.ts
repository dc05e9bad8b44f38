import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { parseCommandLine } from '../../../src/sim/command-line.ts'

describe('the command line of the simulations', () => {
  const said: string[] = []
  beforeEach(() => {
    said.length = 0
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
  })
  afterEach(() => vi.restoreAllMocks())

  it('takes numbers, and one kind of simulation', () => {
    expect(parseCommandLine([])).toEqual({ from: 1, count: 1000 })
    expect(parseCommandLine(['--cache', '--seed', '0'])).toMatchObject({ cache: true, seed: 0 })
    expect(parseCommandLine(['--recall', '--from', '7', '--count', '20', '--seconds', '5'])).toEqual({
      ...{ recall: true, from: 7, count: 20, seconds: 5 },
    })
  })

  for (const [args, complaint] of [
    [['--count', 'foo'], /whole number/],
    [['--count', '0'], /At least 1/],
    [['--seed', '12x', '--cache'], /whole number/],
    [['--from', ''], /whole number/],
    [['--seconds', '-1'], /whole number/],
    [['--cache', '--recall'], /cannot be used with/],
    [['--numa', '--recall'], /cannot be used with/],
    [['--seed', '1', '--count', '5'], /cannot be used with/],
    [['5'], /too many arguments/],
  ] as const)
    it(`refuses ${args.join(' ')}`, () => {
      expect(() => parseCommandLine(args)).toThrow(expect.objectContaining({ exitCode: 1 }))
      expect(said.join('')).toMatch(complaint)
    })
})
