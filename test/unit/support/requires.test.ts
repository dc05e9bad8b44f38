import { afterEach, expect, test, vi } from 'vitest'
import { findProgram, type Requirement, requires } from '../../support/requires.ts'

const MISSING: Requirement = 'program:no-such-program'

afterEach(() => vi.unstubAllEnvs())

test('what is there is not missing', () => {
  vi.stubEnv('CI', 'true')
  expect(requires('program:sh')).toEqual([])
  expect(findProgram('sh')).toMatch(/\/sh$/)
})

test('elsewhere than in CI a missing program is told with its reason', () => {
  vi.stubEnv('CI', '')
  expect(requires(MISSING, 'program:sh')).toEqual(['program:no-such-program: no program no-such-program'])
})

test('in CI a missing program is an error', () => {
  vi.stubEnv('CI', 'true')
  expect(() => requires(MISSING)).toThrow('must run in CI but needs program:no-such-program')
})

test('unless CI is told to do without it', () => {
  vi.stubEnv('CI', 'true')
  vi.stubEnv('SAMEPAGE_CI_WITHOUT', 'btrfs,program:no-such-program')
  expect(requires(MISSING)).toHaveLength(1)
})

test('a misspelt requirement is an error everywhere', () => {
  expect(() => requires('xsf' as Requirement)).toThrow("unknown requirement 'xsf'")
})

test('a kernel that is too old is told, and never an error: no build machine can be expected to have another', () => {
  vi.stubEnv('CI', 'true')
  expect(requires('linux:2.6')).toEqual([])
  expect(requires('linux:999.1')).toEqual([expect.stringMatching(/^linux:999\.1: Linux .* is older than 999\.1$/)])
})
