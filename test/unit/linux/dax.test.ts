import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { isDax } from '../../../src/linux/dax.ts'
import { close, O_PATH, O_RDONLY, open } from '../../../src/linux/file.ts'

test('files on tmpfs and on disks are not accessed directly', () => {
  for (const parent of ['/dev/shm', os.tmpdir()]) {
    const directory = fs.mkdtempSync(path.join(parent, 'samepage-dax-'))
    const file = path.join(directory, 'file')
    fs.writeFileSync(file, 'content')
    for (const flags of [O_RDONLY, O_PATH]) {
      const fd = open(file, flags)
      expect(isDax(fd)).toBe(false)
      close(fd)
    }
    fs.rmSync(directory, { recursive: true })
  }
})

test('what is not open is an error', () => {
  expect(() => isDax(-1)).toThrow('EBADF')
})
