import { describe, expect, test } from 'vitest'
import { readTree } from '../../support/sources.ts'
import { importsOf, importViolations } from './layers.ts'

test('src/ imports downwards only', () => {
  const files = readTree('src', '.ts')
  expect(files.size).toBeGreaterThan(10)
  expect(importViolations(files)).toEqual([])
})

describe('the check itself', () => {
  const check = (file: string, source: string) => importViolations(new Map([[file, source]]))

  test.each([
    ['src/linux/file.ts', "import { a } from '../storage/extents.ts'"],
    ['src/cache/resolve.ts', "import type { Home } from '../homes/home.ts'"],
    ['src/cache/resolve.ts', "import fs from 'node:fs'"],
    ['src/homes/families.ts', "import { statx } from '../linux/statx.ts'"],
    ['src/fuse/server.ts', "export * from '../homes/home.ts'"],
    ['src/sim/run.ts', "const a = await import('../linux/file.ts')"],
    ['src/storage/a.ts', "new Worker(new URL('../daemon/worker.js', import.meta.url))"],
    ['src/daemon/a.ts', "import koffi from 'koffi'"],
    ['src/daemon/a.ts', "import '../cli/main.ts'"],
    ['src/daemon/a.ts', "import { ROOT } from '../../test/support/sources.ts'"],
    ['src/other/a.ts', "import { a } from './b.ts'"],
    ['src/linux/a.ts', "import {\n  a,\n  type B,\n} from '../cache/entry.ts'"],
  ])('refuses in %s: %s', (file, source) => {
    expect(check(file, source)).toHaveLength(1)
  })

  test.each([
    ['src/cli/main.ts', "import { mount } from '../daemon/mount.ts'"],
    ['src/homes/linux-home-storage.ts', "import { statx } from '../linux/statx.ts'\nimport fs from 'node:fs'"],
    ['src/cache/resolve.ts', "import { RunMap } from './run-map.ts'\nimport { assert } from '../util/assert.ts'"],
    ['src/linux/a.ts', "// import { a } from '../cache/entry.ts'\n/* import '../cli/main.ts' */"],
    ['src/linux/a.ts', "const url = 'https://example.org/' // import '../cli/main.ts'"],
  ])('accepts in %s: %s', (file, source) => {
    expect(check(file, source)).toEqual([])
  })

  test('an import that follows code without semicolons is seen whole', () => {
    expect(importsOf("export const a = 1\nimport { b } from './b.ts'\nexport { c } from './c.ts'")).toEqual([
      './b.ts',
      './c.ts',
    ])
  })
})
