/** Files of a test file's own, where no special file system is needed. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll } from 'vitest'

/** Makes files with the content that is given; each call returns a path. All are gone when the tests of the file have run. */
export function scratchFiles(): (content: Uint8Array) => string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-scratch-'))
  afterAll(() => fs.rmSync(directory, { recursive: true }))
  let count = 0
  return (content) => {
    const file = path.join(directory, `file-${count++}`)
    fs.writeFileSync(file, content)
    return file
  }
}
