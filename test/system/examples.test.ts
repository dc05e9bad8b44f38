/** The examples, run as a reader of the guide runs them. */
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'

/** What an example prints, line by line. */
function run(example: string, args: string[] = [], native = true): string[] {
  const output = execFileSync(process.execPath, [path.join(ROOT, 'examples', example), ...args], {
    encoding: 'utf8',
    env: { ...process.env, SAMEPAGE_NATIVE: native ? '1' : '0' },
  })
  return output.trimEnd().split('\n')
}

describe.each([
  ['with system calls', true],
  ['without', false],
])('anywhere, %s', (_, native) => {
  test('01-read.mjs: a miss is read, a hit is not', () => {
    expect(run('01-read.mjs', [], native)).toEqual([
      'tryRead, cold: undefined',
      'read: 18 bytes, Hello, page cache!',
      'tryRead, hot: 18 bytes',
      'readSync: 18 bytes',
      'view: Hello, page cache!',
    ])
  })

  test('03-threads.mjs: workers hit in what another thread has loaded', () => {
    expect(run('03-threads.mjs', [], native)).toEqual([
      'hits in the workers: 1000, 1000, 1000',
      'read from the disk: 1000 pages, once for all threads',
    ])
  })

  test('05-stream-and-abort.mjs', () => {
    expect(run('05-stream-and-abort.mjs', [], native)).toEqual([
      'the same bytes as without a cache: true',
      'given up: AbortError',
      'error: ENOENT open /no/such/file',
    ])
  })
})

test('02-clones.mjs without system calls says that nothing is shared', () => {
  expect(run('02-clones.mjs', [], false)).toEqual([
    'read: 160 MiB from 20 files',
    'in memory: 160 MiB, read from the disk: 160 MiB',
    'nothing is shared: this system cannot tell which files share storage',
  ])
})

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(['root', 'loop', kind], `clones on ${kind}`, () => {
    let filesystem: LoopFilesystem
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind)
    })
    afterAll(() => filesystem[Symbol.asyncDispose]())

    test('02-clones.mjs: twenty are in memory once', () => {
      expect(run('02-clones.mjs', [filesystem.path])).toEqual([
        'read: 160 MiB from 20 files',
        'in memory: 8 MiB, read from the disk: 8 MiB',
        'the clones share their storage, and so their memory',
      ])
    })

    test('04-write.mjs: what is written becomes the clone’s own', () => {
      expect(run('04-write.mjs', [filesystem.path])).toEqual([
        'original, through the cache: original',
        'clone, through the cache: changed!',
        'clone, the file itself: changed!',
        'pages more in memory: 1',
      ])
    })

    test('safetensors/farm.mjs: twenty models cost one and what differs', () => {
      const args = ['--clones', '20', '--size', '8MiB', '--changed', '1', '--directory', filesystem.path]
      const lines = run('safetensors/farm.mjs', args)
      expect(lines).toContain('Both read the same weights.')
      // One of 8 MiB, twenty tensors of a quarter, and what lies around them: 20 models are 160.
      const read = Number(/^The cache has read (\d+) MiB\.$/m.exec(lines.join('\n'))?.[1])
      expect(read).toBeGreaterThanOrEqual(13)
      expect(read).toBeLessThanOrEqual(15)
    })
  })
}
