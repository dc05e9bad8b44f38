/** What reading costs: memory, and bytes from the device. Figures of the whole machine, so it should be quiet otherwise. */
import fs from 'node:fs'
import path from 'node:path'
import { readMountInfo } from '../linux/mountinfo.ts'

const SECTOR_BYTES = 512

/** Bytes that the kernel holds of files, those that live in memory only (tmpfs) excepted; all of the machine. */
export function pageCacheBytes(): number {
  const meminfo = readMeminfo()
  return meminfo('Cached') - meminfo('Shmem')
}

/** Bytes that nobody uses. */
export function freeBytes(): number {
  return readMeminfo()('MemFree')
}

/** Bytes that can be had without swapping. */
export function availableBytes(): number {
  return readMeminfo()('MemAvailable')
}

function readMeminfo(): (field: string) => number {
  const text = fs.readFileSync('/proc/meminfo', 'utf8')
  return (field) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? Number.NaN) * 1024
}

/** Memory of a process and of those that it started: proportional set size, so what they share is counted once. */
export function processBytes(pid: number): number {
  return withDescendants(pid).reduce((sum, each) => sum + proportionalBytes(each), 0)
}

function proportionalBytes(pid: number): number {
  try {
    return (
      Number(/^Pss:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? Number.NaN) * 1024
    )
  } catch {
    return 0
  }
}

function withDescendants(pid: number): number[] {
  const childrenOf = new Map<number, number[]>()
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = parentOf(name)
    if (parent !== undefined) childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)])
  }
  const found = [pid]
  for (const each of found) found.push(...(childrenOf.get(each) ?? []))
  return found
}

function parentOf(pid: string): number | undefined {
  try {
    // The name in parentheses may hold anything, parentheses too.
    const [, rest] = /^.*\) \S+ (\d+) /s.exec(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
    return rest === undefined ? undefined : Number(rest)
  } catch {
    return undefined
  }
}

/**
 * Counts bytes read from the block device that holds `directory`, by whomever. Returns undefined where there is no such device
 * (tmpfs, a network). Of a file system on several devices the first is counted.
 */
export function deviceCounter(directory: string): (() => number) | undefined {
  const real = fs.realpathSync(directory)
  const mounts = readMountInfo().filter(
    ({ mountpoint }) => mountpoint === '/' || real === mountpoint || real.startsWith(`${mountpoint}/`),
  )
  const mounted = mounts.reduce((best, next) => (next.mountpoint.length >= best.mountpoint.length ? next : best))
  if (!mounted.source.startsWith('/dev/')) return undefined
  const statistics = `/sys/class/block/${path.basename(fs.realpathSync(mounted.source))}/stat`
  if (!fs.existsSync(statistics)) return undefined
  return () => Number(fs.readFileSync(statistics, 'utf8').trim().split(/\s+/)[2]) * SECTOR_BYTES
}
