/**
 * A tree in words: everything about it that must be the same in its twin, one line for each name, and which files share which pages.
 */
import { Statx } from '../src/linux/statx.ts'
import { ExtentFlag, ExtentList, isAddressable } from '../src/storage/extents.ts'
import { readExtents } from '../src/storage/read-extents.ts'
import { pageHashes } from './bytes.ts'
import { describe, entriesOf } from './calls.ts'
import { sys } from './syscalls.ts'

/** More of a file is not looked at. */
const CONTENT_MAX = 32 << 20
const PAGE = 4096
const O_CLOEXEC = 0o2000000
const O_NOFOLLOW = 0o400000
const S_IFMT = 0o170000

const stat = new Statx()
const buffer = Buffer.alloc(1 << 20)

/** One line for each name below `root`, with the same label for names of one inode. `content`: read the files too. */
export function auditTree(root: string, content: boolean): string[] {
  const lines: string[] = []
  const labels = new Map<string, number>()
  walk(root, '', (path, name) => {
    const w = stat.words
    const identity = `${w[34]}:${w[35]}:${w[9]}:${w[8]}`
    const isNew = !labels.has(identity)
    if (isNew) labels.set(identity, labels.size)
    const parts = [describe(stat), `inode=${labels.get(identity)}`]
    const kind = stat.mode & S_IFMT
    const size = stat.size
    if (kind === 0o120000) parts.push(`target=${linkTarget(path)}`)
    if (isNew) parts.push(`xattrs=${xattrsOf(path)}`)
    if (isNew && content && kind === 0o100000) parts.push(`content=${contentOf(path, size)}`)
    lines.push(`${name || '.'} ${parts.join(' ')}`)
  })
  return lines
}

/** Visits `root/name` and all below, each with its record in `stat`. */
function walk(root: string, name: string, visit: (path: string, name: string) => void): void {
  const path = name === '' ? root : `${root}/${name}`
  if (sys.statx(-100, path, 0x100, 0x7ff, stat.words) < 0) {
    stat.words.fill(0)
    visit(path, `${name} CANNOT BE STATED`)
    return
  }
  const isDirectory = stat.isDirectory
  visit(path, name)
  if (!isDirectory) return
  const fd = sys.open(path, 0o200000 | O_CLOEXEC | O_NOFOLLOW, 0)
  if (fd < 0) return
  const entries = entriesOf(fd)
  sys.close(fd)
  for (const entry of entries) walk(root, name === '' ? entry.name : `${name}/${entry.name}`, visit)
}

function linkTarget(path: string): string {
  const got = sys.readlink(path, buffer, 4096)
  return buffer.toString('latin1', 0, Math.max(0, got))
}

function xattrsOf(path: string): string {
  const got = sys.listxattr(path, buffer, 65536)
  if (got < 0) return `errno ${-got}`
  const names = buffer.toString('latin1', 0, got).split('\0').filter(Boolean).sort()
  return names
    .map((name) => {
      const size = sys.getxattr(path, name, buffer, 65536)
      return `${name}:${size < 0 ? size : buffer.toString('hex', 0, Math.min(size, 64))}:${size}`
    })
    .join(',')
}

function contentOf(path: string, size: number): string {
  const fd = sys.open(path, O_CLOEXEC | O_NOFOLLOW, 0)
  if (fd < 0) return `errno ${-fd}`
  const hashes: string[] = []
  let offset = 0
  while (offset < Math.min(size + 1, CONTENT_MAX)) {
    const got = sys.pread(fd, buffer, buffer.length, offset)
    if (got < 0) hashes.push(`errno ${-got}`)
    if (got <= 0) break
    hashes.push(...pageHashes(buffer.subarray(0, got), offset))
    offset += got
  }
  sys.close(fd)
  return `${offset}:${runs(hashes).join(',')}`
}

/** Runs of one hash as `hash*count`. */
function runs(items: readonly string[]): string[] {
  const out: string[] = []
  for (let i = 0; i < items.length; ) {
    let end = i + 1
    while (end < items.length && items[end] === items[i]) end++
    out.push(end - i > 1 ? `${items[i]}*${end - i}` : items[i]!)
    i = end
  }
  return out
}

/**
 * Which pages of the files below `root` share storage with which: one line for each run of pages that other names, or other
 * places, hold too. Says nothing of where they lie, nor of sharing with files elsewhere.
 */
export function sharingOf(root: string): string[] {
  const places = new Map<number, { name: string; page: number }[]>()
  const seen = new Set<string>()
  walk(root, '', (path, name) => {
    const w = stat.words
    const identity = `${w[9]}:${w[8]}`
    if ((stat.mode & S_IFMT) !== 0o100000 || seen.has(identity)) return
    seen.add(identity)
    collect(path, name, stat.size, places)
  })
  const groups = new Map<string, string[]>()
  for (const sharers of places.values()) {
    if (sharers.length < 2) continue
    // Relative to the first: neighbours in one run differ in nothing else.
    const first = sharers[0]!
    const key = sharers
      .map(({ name, page }) => `${name}${page - first.page >= 0 ? '+' : ''}${page - first.page}`)
      .join(' = ')
    groups.set(key, [...(groups.get(key) ?? []), String(first.page)])
  }
  return [...groups].map(([key, pages]) => `${key} at ${ranges(pages.map(Number).sort((a, b) => a - b))}`).sort()
}

function collect(
  path: string,
  name: string,
  size: number,
  places: Map<number, { name: string; page: number }[]>,
): void {
  const fd = sys.open(path, O_CLOEXEC | O_NOFOLLOW, 0)
  if (fd < 0) return
  const extents = new ExtentList()
  readExtents(fd, 0, Math.min(size, CONTENT_MAX), extents)
  sys.close(fd)
  for (let i = 0; i < extents.count; i++) {
    const flags = extents.flags[i]!
    if (!isAddressable(flags) || flags & ExtentFlag.UNWRITTEN || !(flags & ExtentFlag.SHARED)) continue
    for (let at = 0; at + PAGE <= extents.length[i]!; at += PAGE) {
      const physical = (extents.physical[i]! + at) / PAGE
      const list = places.get(physical) ?? []
      list.push({ name, page: (extents.logical[i]! + at) / PAGE })
      places.set(physical, list)
    }
  }
}

function ranges(numbers: readonly number[]): string {
  const out: string[] = []
  for (let i = 0; i < numbers.length; ) {
    let end = i
    while (numbers[end + 1] === numbers[end]! + 1) end++
    out.push(end === i ? `${numbers[i]}` : `${numbers[i]}-${numbers[end]}`)
    i = end + 1
  }
  return out.join(',')
}
