import { afterEach, expect, test, vi } from 'vitest'
import { runtimeDirectory } from '../../../src/util/runtime-directory.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

test('of a user it is where XDG_RUNTIME_DIR says, if that says where: a relative path is another one for each process', () => {
  const uid = vi.spyOn(process, 'geteuid' as never) as unknown as { mockReturnValue(uid: number): void }
  uid.mockReturnValue(1000)
  for (const [variable, directory] of [
    ['/run/user/1000', '/run/user/1000/samepage'],
    ['', '/tmp/samepage-1000'],
    ['run', '/tmp/samepage-1000'],
    ['./run', '/tmp/samepage-1000'],
  ] as const) {
    vi.stubEnv('XDG_RUNTIME_DIR', variable)
    expect(runtimeDirectory()).toBe(directory)
  }
  uid.mockReturnValue(0)
  vi.stubEnv('XDG_RUNTIME_DIR', '/run/user/0')
  expect(runtimeDirectory()).toBe('/run/samepage')
})
