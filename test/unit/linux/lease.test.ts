import fs from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { close, O_PATH, O_RDONLY, O_RDWR, open } from '../../../src/linux/file.ts'
import { isOpenForWriting } from '../../../src/linux/lease.ts'

describe('isOpenForWriting', () => {
  const file = `/dev/shm/samepage-lease-${process.pid}`
  let fd: number

  beforeAll(() => {
    fs.writeFileSync(file, 'content')
    fd = open(file, O_RDONLY)
  })
  afterAll(() => {
    close(fd)
    fs.unlinkSync(file)
  })

  it('follows the writers, whatever readers do', () => {
    const reader = open(file, O_RDONLY)
    expect(isOpenForWriting(fd)).toBe(false)
    const first = open(file, O_RDWR)
    const second = open(file, O_RDWR)
    expect(isOpenForWriting(fd)).toBe(true)
    close(first)
    expect(isOpenForWriting(fd)).toBe(true)
    close(second)
    expect(isOpenForWriting(fd)).toBe(false)
    close(reader)
  })

  it('holds no lease afterwards: a writer does not wait', () => {
    expect(isOpenForWriting(fd)).toBe(false)
    const writer = open(file, O_RDWR | fs.constants.O_NONBLOCK)
    close(writer)
  })

  it('does not know about what is no file of the caller', () => {
    const directory = open('/dev/shm', O_RDONLY)
    expect(isOpenForWriting(directory)).toBe(undefined)
    close(directory)
    const path = open(file, O_PATH)
    expect(isOpenForWriting(path)).toBe(undefined)
    close(path)
    expect(isOpenForWriting(-1)).toBe(undefined)
  })
})
