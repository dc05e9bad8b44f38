/**
 * NUMA: which nodes have memory, how far they are from each other, on which one this thread runs, and where pages lie.
 *
 * Distances are the machine's own (ACPI SLIT): 10 is a node to itself, 20 twice as far. See numa(7), mbind(2), sched_getcpu(3).
 */
import fs from 'node:fs'
import koffi from 'koffi'
import { close, O_RDONLY, openat, pread } from './file.ts'
import { check, cString, libc } from './native.ts'
import { mbind } from './numa-calls.ts'
import { AT_FDCWD } from './statx.ts'

const SYSFS = '/sys/devices/system/node'

const schedGetcpuCall = libc<[]>('sched_getcpu', 'int', [])

const MPOL_BIND = 2

interface NumaNode {
  /** As the system numbers it. */
  readonly number: number
  /** Of its own memory, as far as this process may have it (cpusets(7)); 0: none. */
  readonly bytes: number
  readonly hasCpu: boolean
  /** To each node that is online, by its number. */
  readonly distances: ReadonlyMap<number, number>
}

/**
 * The nodes that are online, in the order of their numbers; empty where the kernel tells of none. `allowed`: those of which this process may have memory. `directory`: for
 * tests.
 */
export function readNodes(directory = SYSFS, allowed: readonly number[] = allowedNodes()): NumaNode[] {
  const online = parseList(read(`${directory}/online`))
  const cpus = parseList(read(`${directory}/has_cpu`))
  return online.map((number) => {
    const distances = read(`${directory}/node${number}/distance`).trim().split(/\s+/).map(Number)
    return {
      number,
      bytes: allowed.includes(number) ? memoryOf(read(`${directory}/node${number}/meminfo`)) : 0,
      hasCpu: cpus.includes(number),
      distances: new Map(online.map((other, i) => [other, distances[i] ?? Number.NaN])),
    }
  })
}

const memoryOf = (meminfo: string): number => 1024 * Number(/MemTotal:\s+(\d+)/.exec(meminfo)?.[1] ?? 0)

/** The nodes of CPUs, by the CPU's number. */
export function readCpuNodes(directory = SYSFS): number[] {
  const nodes: number[] = []
  for (const number of parseList(read(`${directory}/online`)))
    for (const cpu of parseList(read(`${directory}/node${number}/cpulist`))) nodes[cpu] = number
  return nodes
}

/** The CPU that this thread runs on now. No system call: the kernel keeps it in memory. */
export function currentCpu(): number {
  return schedGetcpuCall()
}

/** In /proc/PID/task/TID/stat: `processor`, and what comes first behind the name, which may have anything in it. */
const PROCESSOR_FIELD = 39
const STATE_FIELD = 3
const taskStat = Buffer.alloc(1024)

/** The CPU that thread `tid` runs on, or ran on last; -1 where that cannot be seen. Three system calls, some 10 µs. */
export function cpuOfThread(tid: number): number {
  if (tid <= 0) return -1
  // Not /proc/TID/stat, which adds up the times of all threads of the process.
  const fd = openat(AT_FDCWD, cString(`/proc/${tid}/task/${tid}/stat`), O_RDONLY)
  if (fd < 0) return -1
  const length = pread(fd, taskStat, taskStat.length, 0)
  close(fd)
  if (length <= 0) return -1
  const text = taskStat.toString('latin1', 0, length)
  const cpu = Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[PROCESSOR_FIELD - STATE_FIELD])
  return Number.isInteger(cpu) ? cpu : -1
}

/** The CPUs that this process may run on, as its main thread is set. */
export const allowedCpus = (): number[] => statusList('Cpus_allowed_list')

/** The nodes of which it may have memory. */
const allowedNodes = (): number[] => statusList('Mems_allowed_list')

const statusList = (name: string): number[] =>
  parseList(new RegExp(`^${name}:\\s*(\\S+)$`, 'm').exec(read('/proc/self/status'))?.[1] ?? '')

/** Pages of the memory are taken from that node alone from now on, whoever touches them first. Throws a SystemError: EINVAL where the node has no memory. */
export function bindMemory(memory: Uint8Array, node: number): void {
  check(mbind(koffi.address(memory), memory.length, MPOL_BIND, node), 'mbind')
}

/** Pages that this process has of memory, by node: as /proc/self/numa_maps tells of the mappings that begin in it. */
export function pagesByNode(memories: readonly Uint8Array[]): Map<number, number> {
  const places = memories.map((memory) => ({ start: Number(koffi.address(memory)), length: memory.length }))
  const pages = new Map<number, number>()
  for (const line of read('/proc/self/numa_maps').split('\n')) {
    const address = Number.parseInt(line, 16)
    if (!places.some(({ start, length }) => address >= start && address < start + length)) continue
    const unit = Number(/kernelpagesize_kB=(\d+)/.exec(line)?.[1] ?? 4) / 4
    for (const [, node, count] of line.matchAll(/ N(\d+)=(\d+)/g))
      pages.set(Number(node), (pages.get(Number(node)) ?? 0) + Number(count) * unit)
  }
  return pages
}

/** `0-2,5` → 0, 1, 2, 5 */
function parseList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [from = 0, to = from] = part.split('-').map(Number)
      return Array.from({ length: to - from + 1 }, (_, i) => from + i)
    })
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
