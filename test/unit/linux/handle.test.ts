import fs from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ERRNO } from '../../../src/linux/errors.ts'
import { close, O_PATH, O_RDONLY, open } from '../../../src/linux/file.ts'
import {
  HANDLE_ROOM,
  handleInode,
  handleSubvolume,
  handleType,
  nameToHandle,
  openByHandle,
} from '../../../src/linux/handle.ts'
import { cString } from '../../../src/linux/native.ts'
import { testWith } from '../../support/requires.ts'

function handleOf(type: number, ...words: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.of(words.length * 4, type, ...words).buffer)
}

describe('the inode that a handle names', () => {
  it('is read from the handles of XFS, ext4 and btrfs', () => {
    expect(handleInode(handleOf(0x01, 131, 77))).toBe(131)
    expect(handleInode(handleOf(0x02, 131, 77, 128, 1))).toBe(131)
    expect(handleInode(handleOf(0x81, 131, 2, 77))).toBe(2 * 2 ** 32 + 131)
    expect(handleInode(handleOf(0x4d, 257, 1, 256, 0, 9))).toBe(2 ** 32 + 257)
    expect(handleSubvolume(handleOf(0x4d, 257, 1, 256, 0, 9))).toBe(256)
    expect(handleSubvolume(handleOf(0x81, 131, 2, 77))).toBe(0)
  })

  it('is unknown for handles of other make', () => {
    expect(handleInode(handleOf(0x01, 77, 131, 0))).toBe(-1) // tmpfs
    expect(handleInode(handleOf(0xf8, 1, 2, 3))).toBe(-1) // overlayfs
  })
})

describe('handles of tmpfs', () => {
  const directory = `/dev/shm/samepage-handle-${process.pid}`
  let dirFd: number

  beforeAll(() => {
    fs.mkdirSync(directory)
    fs.writeFileSync(`${directory}/file`, 'content')
    fs.symlinkSync('file', `${directory}/link`)
    dirFd = open(directory, O_PATH)
  })
  afterAll(() => {
    close(dirFd)
    fs.rmSync(directory, { recursive: true, force: true })
  })

  it('are the same by name and by descriptor, and do not follow symlinks', () => {
    const byName = new Uint8Array(HANDLE_ROOM)
    const size = nameToHandle(dirFd, cString('file'), byName)
    expect(size).toBeGreaterThan(8)
    const fd = open(`${directory}/file`, O_PATH)
    for (const empty of [cString(''), new Uint8Array(0)]) {
      const byFd = new Uint8Array(HANDLE_ROOM)
      expect(nameToHandle(fd, empty, byFd)).toBe(size)
      expect(byFd.subarray(0, size)).toEqual(byName.subarray(0, size))
    }
    close(fd)
    const ofLink = new Uint8Array(HANDLE_ROOM)
    expect(nameToHandle(dirFd, cString('link'), ofLink)).toBe(size)
    expect(ofLink).not.toEqual(byName)
    expect(handleType(ofLink)).toBe(handleType(byName))
  })

  it('are not cut short', () => {
    expect(nameToHandle(dirFd, cString('file'), new Uint8Array(10))).toBe(-ERRNO.EOVERFLOW)
    expect(nameToHandle(dirFd, cString('none'), new Uint8Array(HANDLE_ROOM))).toBe(-ERRNO.ENOENT)
  })

  testWith(['root'], 'open the inode until it is gone', () => {
    const handle = new Uint8Array(HANDLE_ROOM)
    const size = nameToHandle(dirFd, cString('file'), handle)
    const mountFd = open(directory, O_RDONLY)
    fs.renameSync(`${directory}/file`, `${directory}/renamed`)
    const fd = openByHandle(mountFd, handle.subarray(0, size), O_RDONLY)
    expect(fs.readFileSync(fd, 'utf8')).toBe('content')
    close(fd)
    fs.unlinkSync(`${directory}/renamed`)
    expect(openByHandle(mountFd, handle.subarray(0, size), O_RDONLY)).toBe(-ERRNO.ESTALE)
    close(mountFd)
  })
})
