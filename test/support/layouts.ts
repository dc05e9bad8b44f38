/** Files of random extents: holes, unwritten blocks, tails, clones of clones at any offset, what dedupe has made one. For file systems of all kinds. */
import fs from 'node:fs'
import { cloneFile, cloneRange, dedupeRange } from '../../src/linux/clone.ts'
import { close, O_RDWR, open } from '../../src/linux/file.ts'
import { libc } from '../../src/linux/native.ts'
import { KIBIBYTE, noise, PAGE, run } from './files.ts'
import type { Random } from './random.ts'

const fallocate = libc<[fd: number, mode: number, offset: number, length: number]>('fallocate', 'int', [
  'int',
  'int',
  'int64',
  'int64',
])
const FALLOC = { ALLOCATE: 0, ALLOCATE_BEHIND_THE_END: 1, PUNCH: 3, ZERO: 16, COLLAPSE: 8, INSERT: 32 }

/** Pages that such a file has at most, but for what it is cloned behind its end. */
export const PAGES_MAX = 200

/** One random thing done to the file `fd` of `size` bytes; others may be cloned from. */
export function change(random: Random, fd: number, others: readonly string[]): void {
  const size = fs.fstatSync(fd).size
  const page = () => random.below(PAGES_MAX) * PAGE
  const length = () => random.between(1, 40) * PAGE
  switch (random.below(11)) {
    case 0:
    case 1:
      fs.writeSync(fd, noise(length(), random.below(1000)), 0, undefined, page())
      break
    case 2:
      // Not at pages.
      fs.writeSync(fd, noise(random.between(1, 9000), random.below(1000)), 0, undefined, random.below(PAGES_MAX * PAGE))
      break
    case 3:
      // Compressible.
      fs.writeSync(fd, Buffer.alloc(length(), `${random.below(9)} and again `), 0, undefined, page())
      break
    case 4:
      fallocate(fd, random.pick([FALLOC.ALLOCATE, FALLOC.ALLOCATE_BEHIND_THE_END]), page(), length())
      break
    case 5:
      fallocate(fd, random.pick([FALLOC.PUNCH, FALLOC.ZERO]), page(), length())
      break
    case 6:
      // XFS only; elsewhere refused.
      fallocate(fd, random.pick([FALLOC.COLLAPSE, FALLOC.INSERT]), page(), length())
      break
    case 7:
      fs.ftruncateSync(fd, random.below(PAGES_MAX * PAGE))
      break
    case 8:
    case 9:
      if (others.length > 0)
        withOther(random.pick(others), (other, otherSize) => {
          // Between pages it is refused, but where blocks are smaller.
          const shift = () => (random.below(4) === 0 ? random.between(1, 3) * KIBIBYTE : 0)
          const from = random.below(Math.ceil(otherSize / PAGE) + 1) * PAGE + shift()
          // Up to the end, or a number of blocks that may reach beyond it, which is refused.
          cloneRange(fd, page() + shift(), other, from, random.below(3) === 0 ? 0 : length() + shift())
        })
      break
    default:
      if (others.length > 0)
        withOther(random.pick(others), (other) => {
          // The same bytes first, then one copy of them.
          const [from, to, bytes] = [page(), page(), Buffer.alloc(length())]
          const read = fs.readSync(other, bytes, 0, bytes.length, from)
          const whole = Math.floor(read / PAGE) * PAGE
          if (whole === 0) return
          fs.writeSync(fd, bytes, 0, whole, to)
          fs.fsyncSync(fd)
          dedupeRange(fd, to, other, from, whole)
        })
  }
  // So that the next change meets extents that are on the device, or not.
  if (size > 0 && random.below(4) === 0) fs.fsyncSync(fd)
}

function withOther(file: string, use: (fd: number, size: number) => void): void {
  const fd = open(file, O_RDWR)
  try {
    use(fd, fs.fstatSync(fd).size)
  } finally {
    close(fd)
  }
}

/** A new file, from nothing or from one of `others`, and changed some times. */
export function makeFile(random: Random, file: string, others: readonly string[]): void {
  const fd = open(file, O_RDWR | fs.constants.O_CREAT, 0o644)
  try {
    if (others.length > 0 && random.below(4) > 0) withOther(random.pick(others), (other) => cloneFile(fd, other))
    else fs.writeSync(fd, noise(random.between(1, PAGES_MAX * PAGE), random.below(1000)))
    for (let steps = random.below(8); steps > 0; steps--) change(random, fd, others)
  } finally {
    close(fd)
  }
}

/**
 * Makes `count` files in `directory`, whose names are added to `names`, out of what the last `pool` files hold; then changes eight files of any age, and
 * has all of it on the disk.
 */
export function makeBatch(random: Random, directory: string, names: string[], count: number, pool: number): void {
  const at = (name: string) => `${directory}/${name}`
  const others = () => names.slice(-pool).map(at)
  for (const end = names.length + count; names.length < end; ) {
    const name = `file${names.length}`
    makeFile(random, at(name), others())
    names.push(name)
  }
  for (let i = 0; i < 8; i++) {
    const fd = open(at(random.pick(names)), O_RDWR)
    change(random, fd, others())
    close(fd)
  }
  run('sync', '-f', directory)
}
