/** What the JSON of all commands has in common, as docs/OPERATIONS.md says it. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { noise, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'

const { version } = JSON.parse(fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

describeWith(['root', 'loop', 'xfs', 'fuse'], '--json', () => {
  test('of each command says whose it is, in which format, of which version; errors of paths have one form', async () => {
    await using xfs = await loopFilesystem('xfs')
    writeSynced(`${xfs.path}/a`, noise(128 << 10, 1))
    await using mount = await mounted(xfs.path)
    const of = (status: number, ...args: string[]) => {
      const outcome = samepage(args)
      expect({ args, status: outcome.status }).toEqual({ args, status })
      return outcome
    }
    const nothing = `${xfs.path}/nothing`
    const failed = { path: nothing, error: 'ENOENT', why: 'no such file or directory' }
    for (const [command, text] of [
      ['status', of(0, 'status', '--json', mount.path).stdout],
      ['doctor', `[${of(0, 'doctor', '--json', xfs.path).stdout}]`],
      ['inspect', `[${of(1, 'inspect', '--json', xfs.path, nothing).stdout}]`],
      ['dedupe', `[${of(1, 'dedupe', '--json', xfs.path, nothing).stdout}]`],
    ] as const) {
      const [answer, ...more] = JSON.parse(text)
      expect(more).toEqual([])
      expect(answer).toMatchObject({ format: `samepage-${command}`, schema: 1, samepage: version })
      if (command === 'inspect' || command === 'dedupe') expect(answer).toMatchObject({ version: 1, failed: [failed] })
      else expect(answer).toMatchObject({ version })
    }
    for (const command of ['status', 'doctor'])
      expect(of(1, command, '--json', nothing)).toMatchObject({
        stdout: '',
        stderr: expect.stringMatching(/^samepage: /),
      })
  })
})
