/** Windows where a process has all the mappings that it may have (`vm.max_map_count`): in a process of its own, for little works there then. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../support/sources.ts'

const SCRIPT = `
const [dist, file, koffi] = process.argv.slice(1)
const { default: { load } } = await import(koffi)
const { closeWindow, openWindow, viewWindow } = await import(dist + '/linux/windows.js')
const { mapFile, mapNothing, unmapFile } = await import(dist + '/linux/mapping.js')
const mprotect = load('libc.so.6').func('int mprotect(uintptr_t, size_t, int)')
const fd = (await import('node:fs')).openSync(file)
const [first, second] = [openWindow(fd, 8192), openWindow(fd, 8192)]
const [bytes] = viewWindow(first)
const seen = [bytes[0]]
const length = 2 ** 20 * 8192
const filler = mapNothing(length)
for (let at = filler; mprotect(at, 4096, 3) === 0; at += 8192);
while (mapFile(fd, 0, 4096, 1) !== -1);
closeWindow(first)
seen.push(bytes[0])
unmapFile(filler, length)
closeWindow(second)
seen.push(bytes[0])
const places = (windows) => windows.map(({ address }) => address).sort().join()
const isUsedAgain = places([openWindow(fd, 8192), openWindow(fd, 8192)]) === places([first, second])
console.log(JSON.stringify({ seen, isUsedAgain }))
`

test('a window that cannot be closed for want of mappings is closed when there are some, and its place is nobody’s before', () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-windows-'))
  try {
    const file = path.join(directory, 'file')
    fs.writeFileSync(file, Buffer.alloc(8192, 1))
    const dist = path.resolve(ROOT, process.env.SAMEPAGE_DIST ?? 'dist')
    const koffi = path.join(ROOT, 'node_modules/koffi/index.js')
    const args = ['--input-type=module', '--eval', SCRIPT, dist, file, koffi]
    const answer = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
    expect(answer).toEqual({ seen: [1, 1, 0], isUsedAgain: true })
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
})
