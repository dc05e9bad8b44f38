/** The benchmark still runs: its quickest section, once. What it measures is not for a test. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { loopFilesystem } from '../support/loopfs.ts'
import { PROGRAM } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'

describeWith(['root', 'loop', 'xfs', 'fuse'], 'the benchmark', () => {
  test('measures, prints and writes its samples', async () => {
    await using scratch = await loopFilesystem('ext4', { size: 2 ** 31 })
    execFileSync(process.execPath, [path.join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.bench.json'], {
      cwd: ROOT,
    })
    const json = path.join(scratch.path, 'samples.json')
    const args = ['--quick', '--repetitions', '1', '--only', 'one-page', '--program', PROGRAM, '--json', json]
    const output = execFileSync(process.execPath, [path.join(ROOT, 'build/bench/run.js'), ...args], {
      encoding: 'utf8',
      env: { ...process.env, TMPDIR: scratch.path },
    })
    expect(output).toMatch(/pages held more.* 1 pages/)
    const { sections: written } = JSON.parse(fs.readFileSync(json, 'utf8'))
    expect(written.map(({ section }: { section: string }) => section)).toEqual(['one-page'])
    expect(written[0].figures[0]).toMatchObject({ unit: 'pages', samples: { samepage: [1] } })
    expect(fs.readdirSync(scratch.path).filter((name) => name.startsWith('samepage'))).toEqual([])
  })
})
