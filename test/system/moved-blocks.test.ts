/**
 * Blocks that are moved below a mount, and written anew with something else, while programs read through it: defragmentation, a balance, xfs_fsr.
 * Neither size nor stamp of a file tells of it, and no read, by who has a file open or by who opens it, gets other bytes.
 */
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { startClient } from '../support/client.ts'
import {
  clone,
  extentsOf,
  forgetCached,
  MEBIBYTE,
  noise,
  overwrite,
  PAGE,
  writeFragmented,
  writeSynced,
} from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith, testWith } from '../support/requires.ts'
import { settle } from '../support/settled.ts'

const runAside = promisify(execFile)
const PIECES = 64
const NAMES = ['original', 'pristine', 'diverged']

/** Defines `look(rounds)`: reads pages of all files, by what was opened at the start and by what is opened now; returns where one differs from what it was at the start. */
const READER = `
import random
expected = {name: open(below + "/" + name, "rb").read() for name in files}
held = {name: os.open(mount + "/" + name, os.O_RDONLY) for name in files}
def look(rounds):
    wrong = []
    for _ in range(rounds):
        for name, content in expected.items():
            anew = os.open(mount + "/" + name, os.O_RDONLY)
            for fd in (held[name], anew):
                at = random.randrange(len(content) // 4096) * 4096
                if os.pread(fd, 16384, at) != content[at : at + 16384]:
                    wrong.append([name, "anew" if fd == anew else "held", at])
            os.close(anew)
    return wrong`

/** Moves the blocks of a file. */
const MOVES = [
  ['xfs', 'xfs_fsr', (file: string) => ['xfs_fsr', '-v', file]],
  ['btrfs', 'defragmentation', (file: string) => ['btrfs', 'filesystem', 'defragment', '-f', file]],
  ['btrfs', 'balance', (_: string, filesystem: string) => ['btrfs', 'balance', 'start', '-d', filesystem]],
] as const

for (const [kind, name, move] of MOVES)
  describeWith(['root', 'loop', kind, 'fuse', 'program:python3'], `blocks that move under a mount of ${kind}`, () => {
    testWith(
      kind === 'xfs' ? ['program:xfs_fsr'] : [],
      `${name}: who reads meanwhile gets the same bytes`,
      async () => {
        await using filesystem = await loopFilesystem(kind)
        const at = (name: string) => `${filesystem.path}/${name}`
        writeFragmented(at('original'), PIECES)
        for (const name of NAMES.slice(1)) clone(at('original'), at(name))
        overwrite(at('diverged'), 64 * PAGE, noise(PAGE, 2))
        await settle()
        await using mount = await mounted(filesystem.path, { args: ['--min-share', '64KiB'] })
        await using reader = startClient()
        await reader.run(READER, { mount: mount.path, below: filesystem.path, files: NAMES })
        const wrong: unknown[] = []
        for (const name of NAMES) {
          const before = extentsOf(at(name)).toArray()
          const [program, ...args] = move(at(name), filesystem.path)
          let isMoving = true
          const moving = runAside(program, args).finally(() => {
            isMoving = false
          })
          while (isMoving) wrong.push(...(await reader.value<unknown[]>('look(5)')))
          await moving
          // What was freed gets other bytes, which share, too.
          const squatter = noise(32 * MEBIBYTE, 3)
          writeSynced(at('squatter'), squatter)
          clone(at('squatter'), at('squatter-clone'))
          forgetCached(at(name))
          await settle()
          expect(fs.readFileSync(`${mount.path}/squatter-clone`).equals(squatter)).toBe(true)
          wrong.push(...(await reader.value<unknown[]>('look(50)')))
          for (const gone of ['squatter', 'squatter-clone']) fs.unlinkSync(at(gone))
          expect(extentsOf(at(name)).toArray(), `${name} has moved`).not.toEqual(before)
        }
        expect(wrong).toEqual([])
      },
    )
  })
