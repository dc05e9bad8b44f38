/**
 * Writers that must be seen before anything is concluded about a file: a write stamps ctime when it starts, a mapping when
 * it is first touched, and what they write after that changes no stamp any more.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { close, O_PATH, O_RDONLY, O_RDWR, open } from '../../src/linux/file.ts'
import { HANDLE_ROOM, nameToHandle, openByHandle } from '../../src/linux/handle.ts'
import { isOpenForWriting } from '../../src/linux/lease.ts'
import { openReadOnlyTree } from '../../src/linux/mount-tree.ts'
import { cString, libc, type Pointer } from '../../src/linux/native.ts'
import { MEBIBYTE, noise, PAGE, run, stampOf, withFd, writeSynced } from '../support/files.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith, testWith } from '../support/requires.ts'

const mmap = libc<[address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number]>(
  'mmap',
  'long',
  ['void*', 'size_t', 'int', 'int', 'int', 'int64'],
)
const munmap = libc<[address: number, length: number]>('munmap', 'int', ['void*', 'size_t'])
const memset = libc<[address: number, byte: number, length: number]>('memset', 'long', ['void*', 'int', 'size_t'])
const memcpy = libc<[to: Pointer, from: number, length: number]>('memcpy', 'long', ['void*', 'void*', 'size_t'])
const PROT_READ = 1
const PROT_READ_WRITE = 3
const MAP_SHARED = 1
const MAP_PRIVATE = 2

for (const kind of ['xfs', 'btrfs'] as const) {
  describeWith(['root', 'loop', kind], `writers on ${kind}`, () => {
    let filesystem: LoopFilesystem
    beforeAll(async () => {
      filesystem = await loopFilesystem(kind, { size: 1024 * MEBIBYTE })
    })
    afterAll(() => filesystem?.[Symbol.asyncDispose]())
    const at = (name: string) => `${filesystem.path}/${name}`

    test('a descriptor, whatever mount the two sides came through', () => {
      writeSynced(at('file'), noise(MEBIBYTE, 1))
      const view = `${filesystem.directory}/view`
      fs.mkdirSync(view)
      run('mount', '--bind', filesystem.path, view)
      const tree = withFd(filesystem.path, openReadOnlyTree, O_PATH)
      const handle = new Uint8Array(HANDLE_ROOM)
      withFd(at('file'), (fd) => nameToHandle(fd, cString(''), handle))
      const reader = openByHandle(tree, handle, O_RDONLY)
      expect(isOpenForWriting(reader)).toBe(false)
      const writer = open(`${view}/file`, O_RDWR)
      expect(isOpenForWriting(reader)).toBe(true)
      close(writer)
      expect(isOpenForWriting(reader)).toBe(false)
      close(reader)
      close(tree)
      run('umount', view)
    })

    test('attack: stores through a shared mapping whose descriptor is closed change bytes under the same stamp', () => {
      writeSynced(at('mapped'), noise(MEBIBYTE, 2))
      const reader = open(at('mapped'), O_RDONLY)
      const writer = open(at('mapped'), O_RDWR)
      const address = mmap(null, MEBIBYTE, PROT_READ_WRITE, MAP_SHARED, writer, 0)
      close(writer)
      memset(address, 1, PAGE)
      const stamp = stampOf(at('mapped'))
      memset(address, 2, PAGE)
      expect(stampOf(at('mapped'))).toBe(stamp)
      expect(firstByte(reader)).toBe(2)
      expect(isOpenForWriting(reader)).toBe(true)
      munmap(address, MEBIBYTE)
      expect(isOpenForWriting(reader)).toBe(false)
      // A private mapping writes nothing, and readers' mappings neither.
      const privately = mmap(null, MEBIBYTE, PROT_READ_WRITE, MAP_PRIVATE, reader, 0)
      memset(privately, 3, PAGE)
      expect(isOpenForWriting(reader)).toBe(false)
      munmap(privately, MEBIBYTE)
      close(reader)
    })

    test('attack: a long write changes bytes under the stamp of its start, and its descriptor may be closed meanwhile', async () => {
      const size = 256 * MEBIBYTE
      writeSynced(at('long'), Buffer.alloc(size))
      const reader = open(at('long'), O_RDONLY)
      const content = Buffer.alloc(size, 7)
      // On XFS a read waits for a write, a look through a mapping does not.
      const address = mmap(null, size, PROT_READ, MAP_SHARED, reader, 0)
      const byte = Buffer.alloc(1)
      const lastMapped = () => {
        memcpy(byte, address + size - 1, 1)
        return byte[0]
      }
      let seen = 0
      // Whether the write is caught in the middle is chance; one of some tries is.
      for (let round = 0; round < 10 && seen === 0; round++) {
        content.fill(10 + round)
        const writer = fs.openSync(at('long'), 'r+')
        const before = stampOf(at('long'))
        const writing = { done: false }
        const written = new Promise<void>((resolve, reject) => {
          fs.write(writer, content, 0, size, 0, (error) => {
            writing.done = true
            if (error) reject(error)
            else resolve()
          })
        })
        while (stampOf(at('long')) === before && !writing.done) await sleep(0)
        fs.closeSync(writer)
        const started = stampOf(at('long'))
        const isSeen = isOpenForWriting(reader)
        const halfway = lastMapped() !== content[0]
        await written
        if (halfway) {
          seen++
          expect(isSeen).toBe(true)
          // What was found halfway would be remembered under the stamp that the file still has.
          expect(stampOf(at('long'))).toBe(started)
        }
        expect(lastMapped()).toBe(content[0])
        expect(isOpenForWriting(reader)).toBe(false)
      }
      munmap(address, size)
      expect(seen).toBeGreaterThan(0)
      close(reader)
    })

    testWith(['linux:6.13'], 'every write between two looks makes another ctime', () => {
      writeSynced(at('stamped'), noise(PAGE, 5))
      const writer = fs.openSync(at('stamped'), 'r+')
      const stamps = new Set<string>()
      for (let i = 0; i < 2000; i++) {
        fs.writeSync(writer, 'x', 0)
        stamps.add(stampOf(at('stamped')))
      }
      fs.closeSync(writer)
      expect(stamps.size).toBe(2000)
    })

    test('another process that writes around the page cache', async () => {
      writeSynced(at('direct'), noise(MEBIBYTE, 3))
      const reader = open(at('direct'), O_RDONLY)
      const arguments_ = ['if=/dev/zero', `of=${at('direct')}`, 'bs=4k', 'count=5000', 'oflag=direct', 'conv=notrunc']
      const writer = spawn('dd', [...arguments_, 'status=none'])
      const exited = once(writer, 'exit')
      while (isOpenForWriting(reader) === false && writer.exitCode === null) await sleep(1)
      expect(writer.exitCode).toBe(null)
      expect(isOpenForWriting(reader)).toBe(true)
      await exited
      expect(isOpenForWriting(reader)).toBe(false)
      close(reader)
    })

    test('a lease that is broken while we hold it neither kills us nor fails the writer', async () => {
      writeSynced(at('contended'), noise(PAGE, 4))
      const reader = open(at('contended'), O_RDONLY)
      const script =
        'end=$(($(date +%s%N) + 1500000000)); n=0; while [ $(date +%s%N) -lt $end ]; do i=0; while [ $i -lt 50 ]; do : >> "$0" || exit 1; i=$((i+1)); n=$((n+1)); done; done; echo $n'
      const writer = spawn('sh', ['-c', script, at('contended')], { stdio: ['ignore', 'pipe', 'inherit'] })
      let opens = ''
      writer.stdout.on('data', (text) => {
        opens += text
      })
      const exited = once(writer, 'exit')
      const answers = { false: 0, true: 0 }
      while (writer.exitCode === null) {
        for (let i = 0; i < 1000; i++) answers[isOpenForWriting(reader) ? 'true' : 'false']++
        await sleep(0)
      }
      expect(await exited).toEqual([0, null])
      expect(Number(opens)).toBeGreaterThan(100)
      expect(answers.false).toBeGreaterThan(0)
      close(reader)
    })
  })
}

function firstByte(fd: number): number {
  const byte = Buffer.alloc(1)
  fs.readSync(fd, byte, 0, 1, 0)
  return byte[0]!
}
