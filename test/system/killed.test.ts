/**
 * The daemon is killed at a random moment while programs write: what they were told is done is in the source, they get errors and do not hang,
 * and `samepage umount` clears what is left.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { clone, MEBIBYTE, noise, readAt, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { PYTHON, pythonProgram } from '../support/observe.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { expectNoProcess, mountsAt, samepage } from '../support/samepage.ts'
import { settle } from '../support/settled.ts'

const WRITERS = 4
/** For how long a program may go on when its mount has died. */
const HANG_MS = 20_000
const SEED = Number(process.env.SAMEPAGE_SEED ?? Date.now() % 1e6)

interface Writer {
  readonly ready: Promise<unknown>
  /** The signal that ended it, if one did. */
  readonly ended: Promise<NodeJS.Signals | null>
  lines(): string[]
}

function startWriter(directory: string, writer: number, seed: number): Writer {
  const args = ['-B', pythonProgram('acknowledge.py'), directory, String(writer), String(seed)]
  const child = spawn(PYTHON, args, { cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  return {
    ready: once(child.stdout, 'data'),
    ended: once(child, 'close').then(([, signal]) => signal as NodeJS.Signals | null),
    lines: () => output.trimEnd().split('\n'),
  }
}

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(['root', 'loop', 'fuse', 'program:python3', kind], `the daemon killed on ${kind} (seed ${SEED})`, () => {
    for (const whom of kind === 'xfs' ? ['serving process', 'supervisor', 'both'] : ['serving process'])
      for (const passthrough of whom === 'serving process' && kind === 'xfs' ? [true, false] : [true])
        test(`${whom}, ${passthrough ? 'with passthrough' : 'everything through the daemon'}`, async () => {
          await using filesystem = await loopFilesystem(kind)
          await killWhileWriting(filesystem, whom, passthrough)
        })
  })

async function killWhileWriting(filesystem: LoopFilesystem, whom: string, passthrough: boolean): Promise<void> {
  const original = noise(9 * MEBIBYTE, 1)
  writeSynced(`${filesystem.path}/original`, original)
  for (let writer = 0; writer < WRITERS; writer++)
    clone(`${filesystem.path}/original`, `${filesystem.path}/clone${writer}`)
  await settle()
  const at = path.join(filesystem.directory, 'mnt')
  fs.mkdirSync(at)
  const flags = passthrough ? {} : { passthrough: false as const }
  await using mount = await mounted(filesystem.path, { at, flags, maySuffer: true })
  const { pid } = await mount.status()
  const writers = Array.from({ length: WRITERS }, (_, writer) => startWriter(at, writer, SEED))
  await Promise.all(writers.map(({ ready }) => ready))
  await sleep(new Random(SEED).below(1500))
  if (whom !== 'supervisor') process.kill(pid, 'SIGKILL')
  if (whom !== 'serving process') mount.process.kill('SIGKILL')

  const all = Promise.all(writers.map(({ ended }) => ended)).then(() => 'all have ended')
  expect(await Promise.race([all, sleep(HANG_MS, 'some hang', { ref: false })])).toBe('all have ended')
  await mount.ended
  samepage(['umount', '--if-mounted', at])
  expect(mountsAt(at)).toEqual([])
  expect(fs.readdirSync(at)).toEqual([])
  await expectNoProcess(at)

  let told = 0
  for (const writer of writers) {
    const lines = writer.lines()
    // Who stores to mapped memory that cannot be read any more gets a signal, as when a disk fails.
    if ((await writer.ended) !== 'SIGBUS') expect(lines.at(-1)).toMatch(/^(done|error (ENOTCONN|ECONNABORTED|EIO))$/)
    for (const line of lines) {
      const [what, name = '', offset, hex = ''] = line.split(' ')
      if (what !== 'data') continue
      told++
      const bytes = Buffer.from(hex, 'hex')
      const there = readAt(path.join(filesystem.path, name), Number(offset), bytes.length)
      expect(there.equals(bytes), `${bytes.length} bytes at ${offset} of ${name}`).toBe(true)
    }
  }
  expect(told).toBeGreaterThan(0)
  expect(fs.readFileSync(`${filesystem.path}/original`).equals(original)).toBe(true)
}
