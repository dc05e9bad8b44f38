/** Names that would drive a terminal, or look like another line: commands say them escaped, and act on what is meant. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'

const NAME = 'a\nsamepage: \x1b[31mred\x1b[0m\x9b2J\u202e'
const SHOWN = String.raw`a\x0asamepage: \x1b[31mred\x1b[0m\x9b2J\u202e`

describeWith(['root', 'loop', 'xfs', 'fuse'], 'names with control characters', () => {
  test('are escaped in all that is for people', async () => {
    await using xfs = await loopFilesystem('xfs')
    const source = `${xfs.path}/${NAME}`
    const mountpoint = `${xfs.directory}/${NAME}`
    for (const directory of [source, mountpoint]) fs.mkdirSync(directory)
    const said = (status: number, ...args: string[]) => {
      const outcome = samepage(args)
      const text = outcome.stdout + outcome.stderr
      expect({ args, status: outcome.status, text }).toEqual({ args, status, text: expect.stringContaining(SHOWN) })
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]|^samepage: \\x1b/m)
    }
    said(1, 'mount', `${source}-not-there`)
    said(1, 'mount', xfs.path, source)
    said(0, 'mount', '--daemon', source, mountpoint)
    try {
      expect(fs.readdirSync(mountpoint)).toEqual([])
      said(0, 'status', mountpoint)
      expect(JSON.parse(samepage(['status', '--json', mountpoint]).stdout)).toMatchObject([{ source, mountpoint }])
      said(0, 'doctor', source)
      said(1, 'mount', source, mountpoint)
      said(125, 'exclusive', `${source}/nothing`, '--', 'true')
      said(1, 'umount', xfs.path)
    } finally {
      expect(samepage(['umount', mountpoint])).toEqual({ status: 0, stdout: '', stderr: '' })
    }
    said(1, 'umount', mountpoint)
    said(1, 'status', mountpoint)
  })
})
