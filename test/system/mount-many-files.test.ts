/**
 * A tree with many files: mounted at once, walked, and the daemon's memory and descriptors stay bounded, because it forgets what
 * the kernel forgets. 200,000 files; SAMEPAGE_TEST_FILES asks for more.
 */
import fs from 'node:fs'
import { performance } from 'node:perf_hooks'
import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { MEBIBYTE, run } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { PYTHON, runWithInput, USERS } from '../support/observe.ts'
import { describeWith } from '../support/requires.ts'

const FILES = Number(process.env.SAMEPAGE_TEST_FILES ?? 200_000)
const PER_DIRECTORY = 1000

/** Empty files, and directories in directories. */
const MAKE = `
import os, sys
root, files, per = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for d in range(files // per):
    name = "%s/%d/%d" % (root, d // 100, d)
    os.makedirs(name)
    here = os.open(name, os.O_RDONLY)
    for i in range(per):
        os.mknod("file%d" % i, 0o100644, dir_fd=here)
    os.close(here)
`

describeWith(['root', 'loop', 'xfs', 'fuse', 'program:python3'], `${FILES} files`, () => {
  test('are mounted at once, walked, and forgotten again', async () => {
    const directories = Math.floor(FILES / PER_DIRECTORY)
    const entries = FILES + directories + Math.ceil(directories / 100) + 1
    await using filesystem = await loopFilesystem('xfs', { size: 4096 * MEBIBYTE })
    runWithInput(MAKE, USERS[0]!, PYTHON, '-', filesystem.path, String(FILES), String(PER_DIRECTORY))
    const figures: Record<string, number> = { files: FILES }
    const measured = async <T>(name: string, call: () => Promise<T> | T): Promise<T> => {
      const began = performance.now()
      const result = await call()
      figures[name] = Math.round(performance.now() - began)
      return result
    }

    // At once: no longer than of an empty directory, whatever else the machine is doing.
    fs.mkdirSync(`${filesystem.directory}/empty`)
    const empty = await measured('mount of nothing, ms', () => mounted(`${filesystem.directory}/empty`))
    await empty[Symbol.asyncDispose]()
    await using mount = await measured('mount, ms', () => mounted(filesystem.path, { flags: { timeout: 60 } }))
    expect(figures['mount, ms'], JSON.stringify(figures)).toBeLessThan(3 * figures['mount of nothing, ms']! + 500)
    const note = async (when: string) => {
      const { files, memory } = await mount.status()
      figures[`known ${when}`] = files.known
      figures[`memory ${when}, MiB`] = Math.round(memory.residentBytes / MEBIBYTE)
      figures[`descriptors ${when}`] = await descriptors(mount)
      return files.known
    }
    await note('before')

    const count = (directory: string, ...what: string[]) =>
      Number(run('sh', '-c', `find "$0" ${what.join(' ')} | wc -l`, directory))
    expect(await measured('find, ms', () => count(mount.path))).toBe(entries)
    expect(await measured('find with stat, ms', () => count(mount.path, '-printf', '%s%u%m\\\\n'))).toBe(entries)
    const known = await note('after')
    expect(known).toBeGreaterThan(FILES * 0.9)
    // 144 bytes for each inode, and what there is without any.
    expect(figures['memory after, MiB']! - figures['memory before, MiB']!).toBeLessThan(80 + (entries * 250) / MEBIBYTE)
    // Directories, and some more, at any number of files.
    expect(figures['descriptors after']).toBeLessThan(directories + 200)

    // The kernel forgets, and so does the daemon.
    fs.writeFileSync('/proc/sys/vm/drop_caches', '2')
    await eventually(async () => expect((await mount.status()).files.known).toBeLessThan(FILES / 10), 60_000)
    await note('after the kernel forgot')
    expect(figures['descriptors after the kernel forgot']).toBeLessThan(200)
    // What was given up is used again: the second walk takes no more.
    expect(count(mount.path, '-printf', '%s\\\\n')).toBe(entries)
    await note('after the second walk')
    expect(figures['memory after the second walk, MiB']! - figures['memory after, MiB']!).toBeLessThan(40)
    console.info(JSON.stringify(figures))
  })
})

async function descriptors(mount: Mounted): Promise<number> {
  return fs.readdirSync(`/proc/${(await mount.status()).pid}/fd`).length
}
