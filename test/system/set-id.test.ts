/** The set-id bits of a file whose data changes go as they go natively, whoever makes the change, and however the file is served. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { runPython, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], 'set-id bits', () => {
  test.each([
    ['with passthrough', {}],
    ['through the daemon', { passthrough: false as const }],
  ])('%s', async (_, flags) => {
    await using xfs = await loopFilesystem('xfs')
    for (const directory of ['source', 'twin']) fs.mkdirSync(`${xfs.path}/${directory}`)
    await using mount = await mounted(`${xfs.path}/source`, { flags })
    const natively = runPython(USERS[0]!, 'set_id.py', `${xfs.path}/twin`)
    expect(natively.split('\n').length).toBeGreaterThan(2 * 5 * 4 * 4)
    expect(runPython(USERS[0]!, 'set_id.py', mount.path)).toBe(natively)
  })
})
