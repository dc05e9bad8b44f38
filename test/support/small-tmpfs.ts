import fs from 'node:fs'
import os from 'node:os'
import { MEBIBYTE, noise, PAGE, run } from './files.ts'

/** A file system in memory for what file systems of tests lie in, which can be filled. */
export async function smallTmpfs(
  bytes: number,
): Promise<AsyncDisposable & { inThere<T>(make: () => Promise<T>): Promise<T>; fill(): void }> {
  const directory = fs.mkdtempSync(`${fs.realpathSync(os.tmpdir())}/samepage-small-`)
  fs.chmodSync(directory, 0o755)
  run('mount', '-t', 'tmpfs', '-o', `size=${bytes},mode=755`, 'none', directory)
  return {
    async inThere(make) {
      const before = process.env.TMPDIR
      process.env.TMPDIR = directory
      try {
        return await make()
      } finally {
        if (before === undefined) delete process.env.TMPDIR
        else process.env.TMPDIR = before
      }
    },
    fill() {
      const fd = fs.openSync(`${directory}/fill`, 'w')
      try {
        for (const piece of [noise(MEBIBYTE, 1), noise(PAGE, 2)]) while (fs.writeSync(fd, piece) === piece.length);
        throw new Error('it takes all')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      } finally {
        fs.closeSync(fd)
      }
    },
    async [Symbol.asyncDispose]() {
      fs.rmSync(`${directory}/fill`, { force: true })
      run('umount', directory)
      fs.rmdirSync(directory)
    },
  }
}
