/**
 * What one tenant of a mount can tell by the clock about what another one has read: thousands of trials, each with a page that nobody has read before.
 *
 * In a trial the victim reads either that page of a file of his, or another page that nobody asks about (so that in both cases something was done just before). Then the
 * attacker reads the page of a file of his own with the same content, and writes a byte to it in another one, for the first time; both are timed. Pages come in random order
 * and not side by side, so that readahead brings none.
 *
 * The victim has his turn in many trials before the attacker has his. Files that share blocks are read from the same place of the device, and what was read just before is
 * faster there, in caches of the device or, of one that lies in memory, of the processor: with or without a mount. That is not what is asked here.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Trial } from './classifier.ts'
import { startClient } from './client.ts'
import { clone, noise, PAGE, writeSynced } from './files.ts'
import type { LoopFilesystem } from './loopfs.ts'
import { mounted } from './mounted.ts'
import { Random } from './random.ts'

/** Of three pages only the first is read. */
const SPACING = 3
export const VICTIM = 1001
export const ATTACKER = 1002

export interface Scenario {
  readonly trials: number
  readonly seed: number
  /** Trials of which the victim has his turn first, in all, and then the attacker. */
  readonly batch: number
  /** Further arguments of `samepage mount`. */
  readonly mountArgs: readonly string[]
  /** How the files come to have the same content: by sharing storage, or by being written alike. */
  readonly content: 'clones' | 'copies'
}

/** Directories and files of two owners: what `--domain uid` and `--domain dir` keep apart. */
export function writeTenants(directory: string, trials: number, how: Scenario['content']): void {
  const bytes = 2 * trials * SPACING * PAGE
  const content = noise(bytes, 1)
  for (const [name, owner] of [
    ['victim/file', VICTIM],
    ['attacker/read', ATTACKER],
    ['attacker/written', ATTACKER],
  ] as const) {
    const file = path.join(directory, name)
    const first = path.join(directory, 'victim/file')
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.chownSync(path.dirname(file), owner, owner)
    if (how === 'copies' || file === first) writeSynced(file, content)
    else clone(first, file)
    fs.chownSync(file, owner, owner)
  }
}

const TRIALS = `
def trials(pages, decoys, secrets, batch):
    reads, writes = [], []
    def timed(times, call, *arguments):
        began = time.perf_counter_ns()
        call(*arguments)
        times.append(time.perf_counter_ns() - began)
    for first in range(0, len(pages), batch):
        turn = range(first, min(first + batch, len(pages)))
        for i in turn:
            os.pread(victim, ${PAGE}, (pages[i] if secrets[i] else decoys[i]) * ${PAGE})
        for i in turn:
            timed(reads, os.pread, reader, ${PAGE}, pages[i] * ${PAGE})
        for i in turn:
            timed(writes, os.pwrite, writer, b"x", pages[i] * ${PAGE})
    return list(zip(reads, writes))
`

/** Mounts a file system whose `tenants` directory is from {@link writeTenants}, cold, and tries. */
export async function tryTiming(filesystem: LoopFilesystem, tenants: string, scenario: Scenario): Promise<Trial[]> {
  await filesystem.unmount()
  await filesystem.mount()
  const random = new Random(scenario.seed)
  const pages = shuffled(2 * scenario.trials, random).map((page) => page * SPACING)
  const secrets = Array.from({ length: scenario.trials }, () => random.below(2) === 1)
  await using mount = await mounted(tenants, { args: [...scenario.mountArgs] })
  await using client = startClient()
  await client.run(TRIALS)
  await client.run(
    'victim, reader, writer = (os.open(path, mode) for path, mode in ((v, os.O_RDONLY), (r, os.O_RDONLY), (w, os.O_RDWR)))',
    { v: `${mount.path}/victim/file`, r: `${mount.path}/attacker/read`, w: `${mount.path}/attacker/written` },
  )
  const times = await client.value<[number, number][]>('trials(pages, decoys, secrets, batch)', {
    batch: scenario.batch,
    pages: pages.slice(0, scenario.trials),
    decoys: pages.slice(scenario.trials),
    secrets,
  })
  return times.map((measured, i) => ({ secret: secrets[i]!, times: measured }))
}

function shuffled(count: number, random: Random): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!]
  }
  return numbers
}
